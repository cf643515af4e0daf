// LoadText: what the examples that train learn from.
#ifndef BITNET_EXAMPLES_TEXT_TO_LEARN_H_
#define BITNET_EXAMPLES_TEXT_TO_LEARN_H_

#include <bitnet/base/file.h>
#include <bitnet/base/random.h>
#include <bitnet/train/corpus.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "program.h"

// The text to learn, and what to call it: a file, or with no name the repository's own headers and documents.
inline std::pair<bitnet::Corpus, std::string> LoadText(const std::string& file) {
  if (!file.empty()) return {Need(bitnet::Corpus::FromFile(file)), file};
  // In the order of names, shuffled with a fixed seed: the held-out tenth should be like the rest.
  std::vector<std::filesystem::path> files;
  for (const char* folder : {"include", "docs"}) {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(std::string(BITNET_SOURCE_DIR "/") + folder, error)) {
      const auto kind = entry.path().extension();
      if (kind == ".h" || kind == ".md") files.push_back(entry.path());
    }
  }
  if (files.empty()) Stop("the repository at " BITNET_SOURCE_DIR " is gone; give a text with --text FILE");
  std::sort(files.begin(), files.end());
  bitnet::Random shuffle(1);
  for (size_t i = files.size() - 1; i > 0; --i) {
    std::swap(files[i], files[static_cast<size_t>(bitnet::UniformBelow(shuffle, i + 1))]);
  }
  std::string text;
  for (const auto& path : files) {
    const std::vector<uint8_t> bytes = Need(bitnet::ReadFile(path.string()));
    text.append(bytes.begin(), bytes.end());
  }
  return {bitnet::Corpus::FromBytes(text), "the repository's own headers and documents"};
}

#endif  // BITNET_EXAMPLES_TEXT_TO_LEARN_H_
