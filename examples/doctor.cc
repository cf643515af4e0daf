// What a checkpoint is, tensor by tensor, and what is wrong with it: a GGUF file, a safetensors file, or a folder with
// config.json.
//
//   doctor PATH [--json] [--text FILE]    (--help says more)
#include <bitnet/bitnet.h>
#include <bitnet/io/examine_checkpoint.h>
#include <bitnet/io/report_text.h>
#include <bitnet/io/try_checkpoint.h>

#include <unistd.h>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "i2s_option.h"
#include "options.h"
#include "program.h"
#include "small_gguf.h"

using namespace bitnet;

namespace {

constexpr const char* kHelp =
    "doctor PATH: what a checkpoint is, tensor by tensor, and what is wrong with it\n"
    "  PATH         a GGUF file, a safetensors file, or a folder with config.json\n"
    "  --json       one object, with all findings and all tensors\n"
    "  --no-values  looks at no tensor's values\n"
    "  --text FILE  runs the model on a text: which layout I2_S has, what fewer bits cost, what a token skips\n"
    "  --i2s A|B|C  the layout of I2_S, which files do not say (official files: A)\n"
    "  --quick      makes a small file, harms a copy of it, and looks at both\n"
    "It exits with 0 if nothing is wrong, 1 if there are warnings, 2 if there are errors or it cannot be read, 64 if "
    "the\n"
    "arguments are wrong.\n";

int Examine(const std::string& path, const ExamineOptions& options, bool json,
            const std::optional<std::string>& text = {}) {
  CheckpointReport report = ExamineCheckpoint(path, options);
  if (text) {
    TrialOptions trial;
    trial.checkpoint.decode.i2s = options.i2s;
    TryCheckpoint(*text, trial, report);
  }
  std::printf("%s", (json ? ReportJson(report) : ReportText(report)).c_str());
  return ExitCode(report);
}

void Quick() {
  const std::string path = (std::filesystem::temp_directory_path() / "bitnet_doctor_quick.gguf").string();
  MakeSmallGguf(path, "I2_S");
  const int right = Examine(path, {}, false);
  std::vector<uint8_t> bytes = Need(ReadFile(path));
  bytes.resize(bytes.size() - 50000);
  Need(WriteFile(path, bytes));
  std::printf("\nThe same file, truncated:\n");
  const int harmed = Examine(path, {}, false);
  std::filesystem::remove(path);
  if (right != 0 || harmed != 2) Stop("doctor: the small file should be right, and its truncated copy not");
}

}  // namespace

int main(int argc, char** argv) {
  std::string path;
  std::optional<std::string> text;
  ExamineOptions options;
  bool json = false;
  options.progress = [](size_t done, size_t all) {
    if (isatty(2) != 0 && all > 64 && done % 16 == 0) std::fprintf(stderr, "\r%zu of %zu tensors\r", done, all);
  };
  Options given(argc, argv, kHelp);
  while (given.Next()) {
    if (given.Is("--quick")) {
      Quick();
      return 0;
    } else if (given.Is("--json")) {
      json = true;
    } else if (given.Is("--no-values")) {
      options.values = false;
    } else if (given.Is("--text")) {
      Result<std::vector<uint8_t>> read = ReadFile(given.Value());
      if (!read.ok()) given.Misused("--text: " + read.error());
      text = std::string(read->begin(), read->end());
    } else if (given.Is("--i2s")) {
      options.i2s = I2sLayoutOf(given);
    } else if (given.IsPath() && path.empty()) {
      path = given.Path();
    } else {
      given.RefuseUnknown();
    }
  }
  if (path.empty()) given.Misused("doctor needs a file or a folder");
  return Examine(path, options, json, text);
}
