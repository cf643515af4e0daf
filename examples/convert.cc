// A checkpoint with its ternary weights stored in another way. Trits are exact, scales as exact as the type holds them;
// from GGUF to GGUF all else is copied. OUT may be IN, and is replaced when all of it is written.
//
//   convert IN OUT --to I2_S|TQ1_0|TQ2_0|Q2_0 [--i2s A|B|C]    OUT is a GGUF file
//   convert IN OUT --to hf-packed [--i2s A|B|C]                OUT is a folder of transformers, with its tokenizer
//   convert --quick    makes a small file and converts it to all of them
//
// IN is a GGUF file or a folder of transformers. --i2s says which layout I2_S has in IN; written is always layout A.
#include <bitnet/io/checkpoint.h>
#include <bitnet/io/convert_checkpoint.h>
#include <bitnet/io/convert_gguf.h>
#include <bitnet/io/gguf.h>

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

#include "program.h"
#include "small_gguf.h"

using namespace bitnet;

namespace {

[[noreturn]] void Misused(const std::string& why) {
  std::fprintf(stderr, "%s\nconvert IN OUT --to I2_S|TQ1_0|TQ2_0|Q2_0|hf-packed [--i2s A|B|C]\n", why.c_str());
  std::exit(64);
}

void Print(const ConvertReport& report, const std::string& out) {
  std::printf("%s: %zu tensors converted, %zu copied\n", out.c_str(), report.converted.size(), report.copied);
  if (report.WithLoss() > 0) {
    std::printf("the scales of %zu tensors are not exact: they differ by a share of at most %.3g\n", report.WithLoss(),
                report.LargestLoss());
    for (const ConvertedTensor& tensor : report.converted) {
      if (tensor.loss > 0.0) std::printf("  %s  %.3g\n", tensor.name.c_str(), tensor.loss);
    }
  } else if (!report.converted.empty()) {
    std::printf("all scales are exact\n");
  }
  for (const std::string& note : report.notes) std::printf("%s\n", note.c_str());
}

void Convert(const std::string& in, const std::string& out, const ConvertOptions& options) {
  if (options.type == "hf-packed") {
    CheckpointOptions open;
    open.decode.i2s = options.i2s;
    Print(Need(ConvertToHf(Need(Checkpoint::Open(in, open)), out, options)), out);
  } else if (std::filesystem::is_directory(in)) {
    Print(Need(ConvertToGguf(Need(Checkpoint::Open(in)), out, options)), out);
  } else {
    const GgufFile file = Need(GgufFile::Open(in));
    Print(Need(ConvertGguf(file, out, options)), out);
  }
}

void Quick() {
  const std::string path = (std::filesystem::temp_directory_path() / "bitnet_convert_quick").string();
  const std::string file = path + ".gguf";
  MakeSmallGguf(file, "I2_S");
  for (const char* type : {"TQ1_0", "TQ2_0", "Q2_0", "I2_S"}) {
    Convert(file, file, {.type = type});
    std::printf("%llu bytes in %s\n", static_cast<unsigned long long>(std::filesystem::file_size(file)), type);
  }
  Convert(file, path, {.type = "hf-packed"});
  Convert(path, file, {.type = "I2_S"});
  std::filesystem::remove(file);
  std::filesystem::remove_all(path);
}

}  // namespace

int main(int argc, char** argv) {
  std::string in, out;
  ConvertOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) Misused(option + " needs a value");
      return argv[++i];
    };
    if (option == "--quick") {
      Quick();
      return 0;
    } else if (option == "--to") {
      options.type = value();
    } else if (option == "--i2s") {
      const std::string layout = value();
      if (layout != "A" && layout != "B" && layout != "C") Misused("--i2s takes A, B or C, not '" + layout + "'");
      options.i2s = layout == "A" ? I2sLayout::kA : layout == "B" ? I2sLayout::kB : I2sLayout::kC;
    } else if (option.starts_with("-") || !out.empty()) {
      Misused("convert does not know '" + option + "'");
    } else {
      (in.empty() ? in : out) = option;
    }
  }
  if (in.empty() || out.empty()) Misused("convert needs what to read and what to write");
  if (options.type.empty()) Misused("convert needs --to and a type");
  constexpr std::array<const char*, 5> kTypes = {"I2_S", "TQ1_0", "TQ2_0", "Q2_0", "hf-packed"};
  if (std::find(kTypes.begin(), kTypes.end(), options.type) == kTypes.end()) {
    Misused("convert does not write '" + options.type + "'");
  }
  options.progress = [](size_t done, size_t all) {
    if (isatty(2) != 0 && done % 16 == 0) std::fprintf(stderr, "\r%zu of %zu tensors\r", done, all);
  };
  Convert(in, out, options);
}
