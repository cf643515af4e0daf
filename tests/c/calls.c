/* The C interface as a program in C99 calls it: text from a file, token by token. c_test.cc runs it and compares. */
#include "c/calls.h"

#include <string.h>

#include "bitnet/c.h"

/* Ends with the line where a call failed. */
#define TRY(call)                                        \
  do {                                                   \
    if (result == 0 && (call) != BITNET_OK) result = __LINE__; \
  } while (0)

int GenerateFromC(const char* path, const char* prompt, size_t new_tokens, char* reply, size_t capacity) {
  int result = 0;
  bitnet_load_options options;
  bitnet_model* model = NULL;
  bitnet_state* state = NULL;
  bitnet_decoder* decoder = NULL;
  bitnet_sampler sampler;
  uint64_t random = 7;
  uint32_t tokens[256];
  size_t count = 0, used = 0, i;
  const float* logits = NULL;
  bitnet_model_info info;

  memset(&options, 0, sizeof(options));
  options.struct_bytes = sizeof(options);
  options.threads = 1;
  memset(&sampler, 0, sizeof(sampler));
  sampler.struct_bytes = sizeof(sampler);
  sampler.temperature = 0.8f;
  sampler.top_k = 40;
  info.struct_bytes = sizeof(info);

  if (bitnet_abi_version() != BITNET_C_ABI_VERSION) return __LINE__;
  TRY(bitnet_model_load(path, strlen(path), &options, &model));
  TRY(bitnet_model_describe(model, &info));
  TRY(bitnet_state_new(model, 0, &state));
  TRY(bitnet_decoder_new(model, BITNET_GOES_ON, &decoder));
  TRY(bitnet_encode(model, prompt, strlen(prompt), 0, tokens, sizeof(tokens) / sizeof(*tokens), &count));
  TRY(bitnet_forward(state, tokens, count, &logits));
  for (i = 0; result == 0 && i <= new_tokens; ++i) {
    const char* text = NULL;
    size_t bytes = 0;
    uint32_t token = 0;
    if (i == new_tokens) {
      TRY(bitnet_decoder_finish(decoder, &text, &bytes));
    } else {
      TRY(bitnet_sample(logits, info.vocab, &sampler, &random, &token));
      TRY(bitnet_decoder_append(decoder, token, &text, &bytes));
      TRY(bitnet_forward(state, &token, 1, &logits));
    }
    if (result == 0 && used + bytes >= capacity) result = __LINE__;
    if (result != 0) break;
    memcpy(reply + used, text, bytes);
    used += bytes;
    reply[used] = '\0';
  }
  TRY(bitnet_decoder_free(decoder));
  TRY(bitnet_state_free(state));
  TRY(bitnet_model_free(model));
  return result;
}
