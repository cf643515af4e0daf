// bitnet/io.h: public checkpoints, read, examined, converted, written and run. Beside bitnet.h: files, tokenizers, chat
// formats, and models of whatever formats a file has. Needs nlohmann-json's headers (bitnet::io in CMake). Start at
// docs/checkpoints.md.
#ifndef BITNET_IO_H_
#define BITNET_IO_H_

#include "bitnet/bitnet.h"
#include "bitnet/io/any_model.h"
#include "bitnet/io/chat_template.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/convert_checkpoint.h"
#include "bitnet/io/convert_gguf.h"
#include "bitnet/io/encode_tensor.h"
#include "bitnet/io/examine_checkpoint.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/io/load_weights.h"
#include "bitnet/io/map_model.h"
#include "bitnet/io/report_text.h"
#include "bitnet/io/safetensors_writer.h"
#include "bitnet/io/stop_strings.h"
#include "bitnet/io/text_decoder.h"
#include "bitnet/io/try_checkpoint.h"
#include "bitnet/model/perplexity.h"

#endif  // BITNET_IO_H_
