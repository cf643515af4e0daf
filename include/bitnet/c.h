/* The C interface: a public checkpoint loaded, tokenized, run and sampled from, for C and for every language that calls
 * C. This header is plain C99 and C++; it declares functions, structs of fixed layout and opaque handles.
 *
 * One C++20 unit of the program, or of a shared library, holds the code:
 *
 *   #define BITNET_C_IMPLEMENTATION
 *   #include <bitnet/c.h>          // needs the headers of bitnet::io; -O2 -march=...; takes 40 to 60 s
 *
 * What holds for all functions:
 *
 * Status. Every call returns BITNET_OK or why it failed, and then changes nothing and writes none of its results, but
 *   for a size that was too small; bitnet_last_error() has the sentence. No exception leaves, and no call ends the
 *   program: null pointers, handles of another kind, tokens outside the vocabulary, sizes and options outside their
 *   ranges are refused. (A pointer to what is no handle, or none any more, cannot be told; nor can one whose memory
 *   ends before the size that is given with it. Compiled with -fno-exceptions, the program ends where memory does.)
 * Handles. What a ..._new, ..._load or ..._copy has made, its ..._free ends; of NULL that does nothing. They may be
 *   freed in any order, by any thread: a state, batch or decoder keeps of its model what it needs. No other call with a
 *   model's handle may be going on while that is freed.
 * Results. A `const float*` or `const char*` that is given out belongs to the handle and lives until the next call
 *   with it, or its end. Lists and texts are written into the caller's memory: `capacity` says how many elements that
 *   has room for, and `*count` becomes how many there are. Where they are more, nothing is written but `*count`, and
 *   the status is BITNET_TOO_SMALL; so a capacity of 0, with any pointer, asks for the size.
 * Texts. UTF-8 with a length in bytes; nothing ends with a zero byte unless that is said. NULL is the empty text if its
 *   length is 0. Arrays of length 0 may be NULL too.
 * Structs. `struct_bytes` comes first and is sizeof(the struct): programs that were compiled with an older and smaller
 *   struct go on. Every other member may be 0, which is its default; NULL in the place of options is all defaults.
 * Threads. Any number of threads may use one model at once, each with its own states, batches and decoders. A call with
 *   a state, batch or decoder that another thread is using is refused (BITNET_BUSY); nobody waits. Errors are the
 *   calling thread's. A pass uses the model's threads; of passes at the same time one has them, and the others go on by
 *   their caller alone.
 */
#ifndef BITNET_C_H_
#define BITNET_C_H_

#include <stddef.h>
#include <stdint.h>

/* What stands before each function. A program that links a DLL on Windows defines it as __declspec(dllimport). */
#ifndef BITNET_C_API
#if defined(_WIN32)
#ifdef BITNET_C_IMPLEMENTATION
#define BITNET_C_API __declspec(dllexport)
#else
#define BITNET_C_API
#endif
#elif defined(__GNUC__)
#define BITNET_C_API __attribute__((visibility("default")))
#else
#define BITNET_C_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Versions and errors ----------------------------------------------------------------------------------------- */

/* Rises when something that is declared here changes its meaning or goes; not when functions, or members at the end of
 * structs, are added. A program that loads a shared library compares it with what the library says. */
#define BITNET_C_ABI_VERSION 1
BITNET_C_API uint32_t bitnet_abi_version(void);

/* The library's version: "0.1.0", ended by a zero byte. Lives as long as the program. */
BITNET_C_API const char* bitnet_version(void);

typedef int32_t bitnet_status;
enum {
  BITNET_OK = 0,
  BITNET_INVALID_ARGUMENT = 1, /* a null pointer, a handle of another kind, a value outside its range */
  BITNET_CANNOT_LOAD = 2,      /* the checkpoint or the tokenizer: not there, damaged, or of a kind that is not run */
  BITNET_NO_MEMORY = 3,        /* the call may be made again; a state's logits must be made anew */
  BITNET_FULL = 4,             /* the state has no room for so many tokens */
  BITNET_TOO_SMALL = 5,        /* the caller's memory: *count says what is needed */
  BITNET_NO_TOKENIZER = 6,     /* the checkpoint has none, or one that is not known */
  BITNET_NO_CHAT_FORMAT = 7,   /* it carries none, or one that is not known */
  BITNET_BUSY = 8,             /* another thread is using the handle */
  BITNET_CANCELLED = 9,        /* by the progress callback */
  BITNET_FAILED = 10           /* anything else: the sentence says what */
};

/* Why the last call of this thread that failed did, ended by a zero byte; "" if none has failed. Lives until the next
 * call of this thread that fails. Longer sentences than 2047 bytes are cut. (Where a language moves its tasks between
 * threads, ask in the thread of the call.) */
BITNET_C_API const char* bitnet_last_error(void);

/* ---- Models ------------------------------------------------------------------------------------------------------ */

/* Weights, ready to run, with the checkpoint's tokenizer. Never changes. */
typedef struct bitnet_model bitnet_model;
/* The tokens of one conversation, as keys and values. Takes memory as it grows, a page of 256 tokens at a time. */
typedef struct bitnet_state bitnet_state;
/* Buffers of passes of several states. */
typedef struct bitnet_batch bitnet_batch;
/* Makes text of tokens that come one by one. */
typedef struct bitnet_decoder bitnet_decoder;

/* Called before each tensor is read, with how many have been, and at the end with `done` equal to `all`. Returns 0 to
 * go on; anything else ends the load (BITNET_CANCELLED; not where the code is compiled with -fno-exceptions). Called by
 * one thread at a time, which may be another than the caller's. It must not leave by longjmp. */
typedef int32_t (*bitnet_progress)(void* user, size_t done, size_t all);

/* How codes lie in I2_S tensors of GGUF files: three writers, three layouts, and no word in the file of which. */
enum {
  BITNET_I2S_A = 0, /* all official files */
  BITNET_I2S_B = 1, /* written on ARM */
  BITNET_I2S_C = 2  /* written on x86 without activation parallelism */
};

/* bitnet_load_options.flags */
enum {
  /* Weights that are reals, of a model that nothing says was trained to have them quantized, are quantized all the
   * same: an ordinary model answers with nonsense then. Otherwise it is refused. */
  BITNET_QUANTIZE_ANY_REALS = 1
};

typedef struct bitnet_load_options {
  size_t struct_bytes; /* sizeof(bitnet_load_options) */
  size_t threads; /* that a pass uses, the caller's among them; at most 4096. 0: all CPUs that the program may use */
  uint32_t cache_bits;      /* of a cached key or value: 8, or 16 or 32 for reals. 0: 8 */
  uint32_t i2s_layout;      /* BITNET_I2S_A, ... */
  uint32_t flags;           /* BITNET_QUANTIZE_ANY_REALS */
  uint32_t reserved;        /* 0 */
  bitnet_progress progress; /* NULL: none */
  void* progress_user;
  const char* tokenizer_path; /* a file or folder with a tokenizer. NULL: the checkpoint's own */
  size_t tokenizer_path_bytes;
} bitnet_load_options;

/* Loads a checkpoint: a GGUF file, or a folder of transformers (config.json and safetensors). Which kinds are run and
 * which are refused: docs/checkpoints.md. Inputs of projections have 8 bits (W1.58A8). A checkpoint without a
 * tokenizer, or with one that is not known, loads; the functions that need it answer BITNET_NO_TOKENIZER. One that is
 * named in the options must load.
 * Holds a matrix a thread beside the model while it loads; the files may go afterwards. */
BITNET_C_API bitnet_status bitnet_model_load(const char* path, size_t path_bytes, const bitnet_load_options* options,
                                             bitnet_model** model);
BITNET_C_API bitnet_status bitnet_model_free(bitnet_model* model);

/* "None" where a token is given. */
#define BITNET_NO_TOKEN UINT32_MAX

typedef struct bitnet_model_info {
  size_t struct_bytes;  /* sizeof(bitnet_model_info), set by the caller; the rest is filled in */
  size_t vocab;         /* tokens are 0 to vocab - 1; logits are so many */
  size_t max_positions; /* most tokens of a state */
  size_t layers;
  size_t hidden;   /* width of the residual stream */
  size_t heads;    /* of queries */
  size_t kv_heads; /* of keys and values */
  size_t head_dim;
  size_t ffn;             /* width of the feed-forward network */
  size_t weight_bytes;    /* all weights in memory */
  size_t page_tokens;     /* states take memory in pages of so many tokens */
  size_t page_bytes;      /* ... and of so many bytes; SIZE_MAX if it would be more than that */
  size_t threads;         /* that a pass uses */
  size_t tokenizer_vocab; /* tokens that the tokenizer knows, which may be other than vocab; 0: there is none */
  uint32_t cache_bits;    /* 8, 16 or 32 */
  uint32_t bos;           /* begins a text, or BITNET_NO_TOKEN */
} bitnet_model_info;

BITNET_C_API bitnet_status bitnet_model_describe(const bitnet_model* model, bitnet_model_info* info);

/* Texts of a model. */
enum {
  BITNET_ARCHITECTURE = 0,  /* as the checkpoint calls it: "bitnet-b1.58", "llama" */
  BITNET_CHAT_FORMAT = 1,   /* the name of the format that the chat functions use; empty: none is known */
  BITNET_CHAT_TEMPLATE = 2, /* the template (Jinja) that the checkpoint carries; may be empty */
  BITNET_NOTES = 3          /* lines that a user should see: what was assumed of the tokenizer, or why there is none */
};

/* *text: `*bytes` bytes, and a zero byte behind them; lives as long as the model. */
BITNET_C_API bitnet_status bitnet_model_text(const bitnet_model* model, uint32_t which, const char** text,
                                             size_t* bytes);

/* The tokens that end a text or a reply, in no order: those that the checkpoint names, and those that the known models
 * end a turn with. */
BITNET_C_API bitnet_status bitnet_model_ends(const bitnet_model* model, uint32_t* tokens, size_t capacity,
                                             size_t* count);

/* ---- Text and tokens --------------------------------------------------------------------------------------------- */

/* Flags of bitnet_encode. */
enum {
  BITNET_NO_SPECIAL = 1,   /* neither bos before the text nor eos after it, whatever the vocabulary asks for */
  BITNET_PARSE_CONTROL = 2 /* control tokens that the text writes out are those tokens: never for what a user typed */
};

/* The tokens of a text of fewer than 2^31 - 1 bytes: tokens[*count]. Bytes that are no UTF-8 are kept by byte-level
 * vocabularies, and U+FFFD for SentencePiece's. BITNET_FAILED where the vocabulary has no token for what the text
 * holds. A capacity of text_bytes + 16 is enough for most vocabularies. */
BITNET_C_API bitnet_status bitnet_encode(const bitnet_model* model, const char* text, size_t text_bytes, uint32_t flags,
                                         uint32_t* tokens, size_t capacity, size_t* count);

/* Flags of bitnet_decode and bitnet_decoder_new. */
enum {
  BITNET_SHOW_CONTROL = 1, /* the texts of control tokens; otherwise they are nothing */
  BITNET_GOES_ON = 2,      /* the tokens go on after others: SentencePiece's space before a first word stays */
  BITNET_RAW_BYTES = 4     /* of bitnet_decode: what is no UTF-8 stays as it is; otherwise it is U+FFFD */
};

/* The text of tokens: text[*bytes]. */
BITNET_C_API bitnet_status bitnet_decode(const bitnet_model* model, const uint32_t* tokens, size_t count,
                                         uint32_t flags, char* text, size_t capacity, size_t* bytes);

/* For a reply as it comes: BITNET_GOES_ON, mostly. */
BITNET_C_API bitnet_status bitnet_decoder_new(const bitnet_model* model, uint32_t flags, bitnet_decoder** decoder);
/* The text that this token finishes: often its own, sometimes none. Never half a character, always UTF-8; all pieces
 * together, with that of bitnet_decoder_finish, are what bitnet_decode gives. A zero byte follows. */
BITNET_C_API bitnet_status bitnet_decoder_append(bitnet_decoder* decoder, uint32_t token, const char** text,
                                                 size_t* bytes);
/* The end: U+FFFD for a character that was never finished, or none. The decoder then begins anew. */
BITNET_C_API bitnet_status bitnet_decoder_finish(bitnet_decoder* decoder, const char** text, size_t* bytes);
BITNET_C_API bitnet_status bitnet_decoder_free(bitnet_decoder* decoder);

/* ---- Conversations ----------------------------------------------------------------------------------------------- */

enum { BITNET_SYSTEM = 0, BITNET_USER = 1, BITNET_ASSISTANT = 2 };

typedef struct bitnet_message {
  uint32_t role;     /* BITNET_SYSTEM, ... */
  uint32_t reserved; /* 0 */
  const char* text;
  size_t text_bytes;
} bitnet_message;

/* Flags of bitnet_encode_chat. */
enum {
  BITNET_CHAT_GOES_ON = 1,    /* these are not the conversation's first messages: nothing stands before them */
  BITNET_CHAT_NO_REPLY = 2,   /* does not end with what makes the model reply */
  BITNET_CHAT_NO_THINKING = 4 /* a reply without reasoning before it, where the format knows how */
};

/* Messages as the model was trained to read them. What they say is text: a <|eot_id|> that a user types is not the
 * token. For the next turn of a conversation that a state holds, forward the tokens of bitnet_encode_after_reply, then
 * those of the new messages alone with BITNET_CHAT_GOES_ON. A format that is not known is never replaced by a similar
 * one (BITNET_NO_CHAT_FORMAT): write it by bitnet_encode with BITNET_PARSE_CONTROL. */
BITNET_C_API bitnet_status bitnet_encode_chat(const bitnet_model* model, const bitnet_message* messages,
                                              size_t message_count, uint32_t flags, uint32_t* tokens, size_t capacity,
                                              size_t* count);
/* What has to follow a reply that is in a state: the token that ends it, unless `last`, the last token that the state
 * has of it, is one, and what the format has after that. */
BITNET_C_API bitnet_status bitnet_encode_after_reply(const bitnet_model* model, uint32_t last, uint32_t* tokens,
                                                     size_t capacity, size_t* count);

/* ---- States ------------------------------------------------------------------------------------------------------ */

/* For at most max_tokens tokens, and no more than the model allows. 0: as many as it allows. */
BITNET_C_API bitnet_status bitnet_state_new(const bitnet_model* model, size_t max_tokens, bitnet_state** state);
/* A fork: both go on from the tokens so far, whose full pages they share. The copy has no logits. */
BITNET_C_API bitnet_status bitnet_state_copy(const bitnet_state* state, bitnet_state** copy);
/* Forgets the tokens from `length` on, which must not be above the state's. Gives their pages back. */
BITNET_C_API bitnet_status bitnet_state_truncate(bitnet_state* state, size_t length);
BITNET_C_API bitnet_status bitnet_state_free(bitnet_state* state);

typedef struct bitnet_state_info {
  size_t struct_bytes; /* sizeof(bitnet_state_info), set by the caller; the rest is filled in */
  size_t length;       /* tokens that it has: the position of the next one */
  size_t max_tokens;   /* ... and may have */
  size_t cache_bytes;  /* of its pages; those that it shares are counted in full */
} bitnet_state_info;

BITNET_C_API bitnet_status bitnet_state_describe(const bitnet_state* state, bitnet_state_info* info);

/* ---- Passes ------------------------------------------------------------------------------------------------------ */

/* Appends tokens [count], at least one. *logits: [vocab], after the last of them; `logits` may be NULL. BITNET_FULL
 * where the state has no room for all of them. The bits do not depend on how tokens are cut into calls, nor on the
 * number of threads. */
BITNET_C_API bitnet_status bitnet_forward(bitnet_state* state, const uint32_t* tokens, size_t count,
                                          const float** logits);
/* The same with the logits after each token: [count, vocab], which take 4 * count * vocab bytes of the state. */
BITNET_C_API bitnet_status bitnet_forward_all(bitnet_state* state, const uint32_t* tokens, size_t count,
                                              const float** logits);

/* Tokens [count], at least one, that a state appends in a pass of several. */
typedef struct bitnet_turn {
  bitnet_state* state;
  const uint32_t* tokens;
  size_t count;
} bitnet_turn;

BITNET_C_API bitnet_status bitnet_batch_new(const bitnet_model* model, bitnet_batch** batch);
/* Several states in one pass, which reads the weights once: each has the bits that it has alone. *logits: [turns,
 * vocab], a row for each turn; `logits` may be NULL. They live until the next call with the batch. All states must be
 * of the batch's model, and none may stand twice. Where a turn is refused all states stay as they were. */
BITNET_C_API bitnet_status bitnet_batch_forward(bitnet_batch* batch, const bitnet_turn* turns, size_t turn_count,
                                                const float** logits);
BITNET_C_API bitnet_status bitnet_batch_free(bitnet_batch* batch);

/* ---- Sampling ---------------------------------------------------------------------------------------------------- */

typedef struct bitnet_sampler {
  size_t struct_bytes; /* sizeof(bitnet_sampler) */
  size_t top_k;        /* draw from the k most probable tokens. 0: from all */
  float temperature;   /* 0: greedy, the largest logit (the lowest token among equals) */
  float top_p;         /* draw from the fewest tokens whose probability reaches p, at most 1. 0: from all */
  float min_p;         /* leave out tokens less probable than min_p times the most probable one, at most 1. 0: none */
  uint32_t reserved;   /* 0 */
} bitnet_sampler;

/* Draws a token from logits [vocab] (any: they may be a copy that was changed). `*random` is a seed at first, any
 * number; each draw moves it on, so that the same seed and logits give the same tokens. Greedy draws do not look at it:
 * it may be NULL then. top-k is applied before top-p, that before min-p. BITNET_FAILED where a logit is NaN or
 * +infinity, or all are -infinity. A thread keeps a buffer of 8 to 20 bytes a token between calls. */
BITNET_C_API bitnet_status bitnet_sample(const float* logits, size_t vocab, const bitnet_sampler* options,
                                         uint64_t* random, uint32_t* token);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* BITNET_C_H_ */

/* (Outside of the include guard: the unit that holds the code may have included this header before.) */
#if defined(BITNET_C_IMPLEMENTATION) && defined(__cplusplus)
#include "bitnet/io/c_implementation.h" /* NOLINT */
#endif
