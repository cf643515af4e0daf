// Progress of a run for people and for spreadsheets: Progress shows a bar with loss, speed and time left, or plain
// lines where the output is no terminal; LossLog writes a CSV file. Both write only where their caller says.
#ifndef BITNET_TRAIN_PROGRESS_H_
#define BITNET_TRAIN_PROGRESS_H_

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/train/trainer.h"

namespace bitnet {

inline bool IsTerminal(std::FILE* file) {
#if defined(_WIN32)
  return _isatty(_fileno(file)) != 0;
#else
  return isatty(fileno(file)) != 0;
#endif
}

class Progress {
 public:
  // `first` steps are done already, as after Trainer::Load.
  Progress(std::FILE* out, const TrainOptions& options, uint64_t first = 0)
      : Progress(out, options, first, IsTerminal(out)) {}
  Progress(std::FILE* out, const TrainOptions& options, uint64_t first, bool terminal)
      : out_(out), steps_(options.steps), tokens_(options.TokensPerStep()), first_(first), terminal_(terminal) {}

  // Call after each step. The loss shown is a running mean, in which a new step counts a tenth. A bar is redrawn ten
  // times a second at most; of lines there are about twenty.
  void Step(const StepReport& report) {
    smoothed_ = report.step == first_ ? report.loss : smoothed_ + 0.1 * (report.loss - smoothed_);
    const uint64_t done = report.step + 1;
    const auto now = Clock::now();
    if (done != steps_) {
      if (terminal_ ? now - drawn_ < std::chrono::milliseconds(100) : done % std::max<uint64_t>(1, steps_ / 20) != 0) {
        return;
      }
    }
    drawn_ = now;
    Print(Line(report, std::chrono::duration<double>(now - start_).count()), terminal_ && done != steps_);
  }

  // A line of the caller's among those of this object.
  void Note(const std::string& text) { Print(text, false); }

  // Tokens a second since the start.
  double Speed(uint64_t done) const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    return static_cast<double>((done - first_) * tokens_) / std::max(seconds, 1e-9);
  }

  // The text for a report, given the seconds since the start.
  std::string Line(const StepReport& report, double seconds) const {
    const uint64_t done = report.step + 1;
    const double share = static_cast<double>(done) / static_cast<double>(steps_);
    const auto made = static_cast<double>(done - first_);
    const double left = seconds / made * static_cast<double>(steps_ - done);
    std::string line;
    if (terminal_) {
      const auto filled = static_cast<size_t>(share * kBarWidth);
      line += "[" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] ";
    }
    char text[160];
    std::snprintf(text, sizeof(text), "%3.0f %%  step %llu/%llu  stage %d  loss %.3f  %.0f tokens/s  %s left",
                  share * 100, static_cast<unsigned long long>(done), static_cast<unsigned long long>(steps_),
                  report.stage, smoothed_, made * static_cast<double>(tokens_) / std::max(seconds, 1e-9),
                  Duration(left).c_str());
    return line + text;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kBarWidth = 24;

  static std::string Duration(double seconds) {
    const auto whole = static_cast<unsigned long long>(std::min(seconds, 1e9) + 0.5);
    char text[40];
    if (whole >= 3600) {
      std::snprintf(text, sizeof(text), "%llu:%02llu:%02llu", whole / 3600, whole / 60 % 60, whole % 60);
    } else {
      std::snprintf(text, sizeof(text), "%llu:%02llu", whole / 60, whole % 60);
    }
    return text;
  }

  // `keep_open`: the next text replaces this one.
  void Print(const std::string& text, bool keep_open) {
    const std::string blanks(shown_ > text.size() ? shown_ - text.size() : 0, ' ');
    std::fprintf(out_, "%s%s%s%s", terminal_ ? "\r" : "", text.c_str(), blanks.c_str(), keep_open ? "" : "\n");
    std::fflush(out_);
    shown_ = keep_open ? text.size() : 0;
  }

  std::FILE* out_;
  uint64_t steps_;
  uint64_t tokens_;
  uint64_t first_;
  bool terminal_;
  double smoothed_ = 0.0;
  size_t shown_ = 0;  // characters of the open line
  Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_{};
};

// A line a step: step, stage, loss, learning rate, gradient norm and, where it was taken, validation loss.
class LossLog {
 public:
  // A new file, or with `append` the lines of a run that goes on. A pipe or a terminal will do, too.
  static Result<LossLog> Open(const std::string& path, bool append = false) {
    LossLog log;
    log.path_ = path;
    errno = 0;
    log.file_.reset(std::fopen(path.c_str(), append ? "ab" : "wb"));
    if (!log.file_) return Error{path + ": cannot be opened for writing: " + SystemReason(errno)};
    if (!append) {
      log.Keep(std::fputs("step,stage,loss,learning_rate,gradient_norm,validation_loss\n", log.file_.get()));
    }
    return log;
  }

  void Write(const StepReport& r, std::optional<double> validation_loss = {}) {
    BITNET_ASSERT(file_ != nullptr, "LossLog::Write: the log is closed");
    Keep(std::fprintf(file_.get(), "%llu,%d,%.6f,%.6g,%.6g,", static_cast<unsigned long long>(r.step), r.stage, r.loss,
                      double(r.learning_rate), r.gradient_norm));
    if (validation_loss) Keep(std::fprintf(file_.get(), "%.6f", *validation_loss));
    Keep(std::fputc('\n', file_.get()));
  }

  // Closes the file and says whether all was written.
  Result<Done> Close() {
    BITNET_ASSERT(file_ != nullptr, "LossLog::Close: the log is closed already");
    Keep(std::fclose(file_.release()));
    if (reason_ != 0) return Error{path_ + ": not all could be written: " + SystemReason(reason_)};
    return Done{};
  }

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  // Keeps the reason of the first write that failed; `result` is what the write returned.
  void Keep(int result) {
    if (result < 0 && reason_ == 0) reason_ = errno == 0 ? EIO : errno;
  }

  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;
  int reason_ = 0;
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_PROGRESS_H_
