/* What calls.c offers to c_test.cc. */
#ifndef BITNET_TESTS_C_CALLS_H_
#define BITNET_TESTS_C_CALLS_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define REPLY_BYTES 4096

/* A reply to the prompt, drawn at a temperature of 0.8 from 40 tokens with the seed 7, until a token that ends one:
 * reply[REPLY_BYTES], ended by a zero byte. Returns the status of what failed, or 0. */
int ReplyFromC(const char* path, const char* prompt, size_t new_tokens, char* reply);

#ifdef __cplusplus
}
#endif

#endif /* BITNET_TESTS_C_CALLS_H_ */
