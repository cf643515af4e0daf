// A checkpoint with its ternary weights stored in another way. Trits are exact, scales as exact as the type holds them;
// from GGUF to GGUF all else is copied. OUT may be IN, and is replaced when all of it is written.
//
//   convert IN OUT --to TYPE [--i2s A|B|C]    (--help says more)
#include <bitnet/io/checkpoint.h>
#include <bitnet/io/convert_checkpoint.h>
#include <bitnet/io/convert_gguf.h>
#include <bitnet/io/gguf.h>

#include <unistd.h>
#include <cstdio>
#include <filesystem>
#include <string>

#include "i2s_option.h"
#include "options.h"
#include "program.h"
#include "small_gguf.h"

using namespace bitnet;

namespace {

constexpr const char* kHelp =
    "convert IN OUT --to TYPE: a checkpoint with its ternary weights stored in another way\n"
    "  IN           a GGUF file or a folder of transformers\n"
    "  OUT          a GGUF file, which may be IN; of hf-packed a folder, with its tokenizer\n"
    "  --to TYPE    I2_S, TQ1_0, TQ2_0, Q2_0 or hf-packed\n"
    "  --i2s A|B|C  the layout that I2_S has in IN, which files do not say (official files: A); written is always A\n"
    "  --quick      makes a small file and converts it to all of them\n"
    "It exits with 0, 1 if the checkpoint cannot be read, converted or written, 64 if the arguments are wrong.\n";

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
  Options given(argc, argv, kHelp);
  while (given.Next()) {
    if (given.Is("--quick")) {
      Quick();
      return 0;
    } else if (given.Is("--to")) {
      options.type = given.OneOf({"I2_S", "TQ1_0", "TQ2_0", "Q2_0", "hf-packed"});
    } else if (given.Is("--i2s")) {
      options.i2s = I2sLayoutOf(given);
    } else if (given.IsPath() && out.empty()) {
      (in.empty() ? in : out) = given.Path();
    } else {
      given.RefuseUnknown();
    }
  }
  if (in.empty() || out.empty()) given.Misused("convert needs what to read and what to write");
  if (options.type.empty()) given.Misused("convert needs --to and a type");
  options.progress = [](size_t done, size_t all) {
    if (isatty(2) != 0 && done % 16 == 0) std::fprintf(stderr, "\r%zu of %zu tensors\r", done, all);
  };
  Convert(in, out, options);
}
