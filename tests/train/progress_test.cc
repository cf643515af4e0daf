#include <bitnet/train/progress.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>

namespace bitnet::testing {
namespace {

// What `write` prints to a file.
template <class Write>
std::string Printed(Write&& write) {
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  write(file);
  std::rewind(file);
  std::string text;
  for (int c; (c = std::fgetc(file)) != EOF;) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

TrainOptions HundredSteps() {
  TrainOptions options;
  options.steps = 100;
  options.batch = 2;
  options.sequence = 50;
  return options;
}

StepReport At(uint64_t step) { return {step, step < 95 ? 1 : 2, 2.0, 0.5, 1e-3f}; }

TEST_CASE("Progress: plain lines, about twenty, where the output is no terminal") {
  const std::string text = Printed([](std::FILE* file) {
    CHECK(!IsTerminal(file));
    Progress progress(file, HundredSteps());
    for (uint64_t step = 0; step < 100; ++step) progress.Step(At(step));
    progress.Note("done");
  });
  CHECK(std::count(text.begin(), text.end(), '\n') == 21);
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find("  5 %  step 5/100  stage 1  loss 2.000  ") == 0);
  CHECK(text.find("100 %  step 100/100  stage 2  loss 2.000  ") != std::string::npos);
  CHECK(text.ends_with(" 0:00 left\ndone\n"));
}

TEST_CASE("Progress: a bar on one line of a terminal; notes stand above it") {
  const std::string text = Printed([](std::FILE* file) {
    Progress progress(file, HundredSteps(), 0, true);
    progress.Step(At(0));
    progress.Note("a note");
    for (uint64_t step = 1; step < 100; ++step) progress.Step(At(step));
  });
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);
  CHECK(text.find("\r[........................]   1 %  step 1/100") == 0);
  // The note covers what is left of the bar.
  const size_t note = text.find("\ra note ");
  REQUIRE(note != std::string::npos);
  CHECK(text.find('\n') - note - 1 >= note - 1);
  CHECK(text.find("[########################] 100 %  step 100/100") != std::string::npos);
}

TEST_CASE("Progress: speed and time left, from the first step of this process on") {
  Progress progress(stdout, HundredSteps(), 40, false);
  CHECK(progress.Line(At(49), 2.0).find("500 tokens/s  0:10 left") != std::string::npos);
  CHECK(progress.Line(At(49), 200.0).find("5 tokens/s  16:40 left") != std::string::npos);
  CHECK(progress.Line(At(49), 20000.0).find("27:46:40 left") != std::string::npos);
}

TEST_CASE("LossLog: a header, a line a step, and more after a resume") {
  const std::string path = (std::filesystem::temp_directory_path() / "bitnet_loss_log.csv").string();
  {
    Result<LossLog> log = LossLog::Open(path);
    REQUIRE(log.ok());
    log->Write(At(0));
    log->Write(At(95), 1.5);
    CHECK(log->Close().ok());
    Result<LossLog> more = LossLog::Open(path, true);
    REQUIRE(more.ok());
    more->Write(At(96));
  }
  const std::vector<uint8_t> bytes = *ReadFile(path);
  CHECK(std::string(bytes.begin(), bytes.end()) ==
        "step,stage,loss,learning_rate,gradient_norm,validation_loss\n"
        "0,1,2.000000,0.001,0.5,\n"
        "95,2,2.000000,0.001,0.5,1.500000\n"
        "96,2,2.000000,0.001,0.5,\n");
  std::filesystem::remove(path);
  const Result<LossLog> nowhere = LossLog::Open("/nowhere/log.csv");
  REQUIRE(!nowhere.ok());
  CHECK(nowhere.error() == "/nowhere/log.csv: cannot be opened for writing: No such file or directory");
}

TEST_CASE("LossLog: what could not be written is said with the system's reason, also when it fails before the end") {
  if (!std::filesystem::exists("/dev/full")) return;
  for (const int lines : {1, 1000}) {  // fewer and more than the buffer holds
    Result<LossLog> log = LossLog::Open("/dev/full");
    REQUIRE(log.ok());
    for (int i = 0; i < lines; ++i) log->Write(At(0));
    const Result<Done> closed = log->Close();
    REQUIRE(!closed.ok());
    CHECK(closed.error() == "/dev/full: not all could be written: No space left on device");
  }
}

}  // namespace
}  // namespace bitnet::testing
