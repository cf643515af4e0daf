// What a checkpoint is, tensor by tensor, and what is wrong with it: a GGUF file, a safetensors file, or a folder with
// config.json.
//
//   doctor PATH [--json] [--no-values] [--i2s A|B|C] [--text FILE]
//   doctor --quick    makes a small file, harms a copy of it, and looks at both
//
// For scripts: 0 nothing is wrong, 1 there are warnings, 2 there are errors or it cannot be read, 64 the arguments are
// wrong. --json prints one object, with all findings and all tensors. --no-values looks at no tensor's values. --text
// runs the model on a text: which layout I2_S has, what fewer bits cost, what a token skips.
#include <bitnet/bitnet.h>
#include <bitnet/io/examine_checkpoint.h>
#include <bitnet/io/report_text.h>
#include <bitnet/io/try_checkpoint.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "program.h"
#include "small_gguf.h"

using namespace bitnet;

namespace {

[[noreturn]] void Misused(const std::string& why) {
  std::fprintf(stderr, "%s\ndoctor PATH [--json] [--no-values] [--i2s A|B|C] [--text FILE]\n", why.c_str());
  std::exit(64);
}

int Examine(const std::string& path, const ExamineOptions& options, bool json, const std::string& text = {}) {
  std::vector<uint8_t> bytes;
  if (!text.empty()) {
    Result<std::vector<uint8_t>> read = ReadFile(text);
    if (!read.ok()) Misused("--text: " + read.error());
    bytes = *std::move(read);
  }
  CheckpointReport report = ExamineCheckpoint(path, options);
  if (!text.empty()) {
    TrialOptions trial;
    trial.checkpoint.decode.i2s = options.i2s;
    TryCheckpoint({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, trial, report);
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
  std::string path, text;
  ExamineOptions options;
  bool json = false;
  options.progress = [](size_t done, size_t all) {
    if (all > 64 && done % 16 == 0) std::fprintf(stderr, "\r%zu of %zu tensors\r", done, all);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--quick") {
      Quick();
      return 0;
    } else if (option == "--json") {
      json = true;
    } else if (option == "--no-values") {
      options.values = false;
    } else if (option == "--text") {
      if (i + 1 == argc) Misused("--text needs a file");
      text = argv[++i];
    } else if (option == "--i2s") {
      const std::string layout = i + 1 < argc ? argv[++i] : "";
      if (layout != "A" && layout != "B" && layout != "C") Misused("--i2s takes A, B or C, not '" + layout + "'");
      options.i2s = layout == "A" ? I2sLayout::kA : layout == "B" ? I2sLayout::kB : I2sLayout::kC;
    } else if (option.starts_with("-") || !path.empty()) {
      Misused("doctor does not know '" + option + "'");
    } else {
      path = option;
    }
  }
  if (path.empty()) Misused("doctor needs a file or a folder");
  return Examine(path, options, json, text);
}
