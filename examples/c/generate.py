#!/usr/bin/env python3
"""Text from a checkpoint, in Python without any package: the C interface (bitnet/c.h) by ctypes.

  generate.py MODEL -p PROMPT [-n TOKENS] [--temperature T] [--seed N]    goes on after the prompt
  generate.py MODEL --chat [-n TOKENS] ...                                a conversation: a line of the input is a turn
  generate.py --quick                                                     makes a small untrained file and runs that

MODEL is a GGUF file or a folder of transformers. The library is that of build/release, or --library PATH.
"""
import argparse
import ctypes
import os
import random
import struct
import sys
import tempfile

ABI_VERSION = 1
GOES_ON = 2  # BITNET_GOES_ON
CHAT_GOES_ON = 1  # BITNET_CHAT_GOES_ON
TOO_SMALL = 5  # BITNET_TOO_SMALL
USER = 1  # BITNET_USER

Tokens = ctypes.POINTER(ctypes.c_uint32)
Floats = ctypes.POINTER(ctypes.c_float)
Size = ctypes.POINTER(ctypes.c_size_t)
Handle = ctypes.POINTER(ctypes.c_void_p)
Progress = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)


class Struct(ctypes.Structure):
    """One whose first member is its size; the others are 0 unless they are given."""

    def __init__(self, **members):
        super().__init__(struct_bytes=ctypes.sizeof(self), **members)


class LoadOptions(Struct):
    _fields_ = [("struct_bytes", ctypes.c_size_t), ("threads", ctypes.c_size_t), ("cache_bits", ctypes.c_uint32),
                ("i2s_layout", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("reserved", ctypes.c_uint32),
                ("progress", Progress), ("progress_user", ctypes.c_void_p), ("tokenizer_path", ctypes.c_char_p),
                ("tokenizer_path_bytes", ctypes.c_size_t)]


class ModelInfo(Struct):
    _fields_ = [(name, ctypes.c_size_t)
                for name in ("struct_bytes", "vocab", "max_positions", "layers", "hidden", "heads", "kv_heads",
                             "head_dim", "ffn", "weight_bytes", "page_tokens", "page_bytes", "threads",
                             "tokenizer_vocab")] + [("cache_bits", ctypes.c_uint32), ("bos", ctypes.c_uint32)]


class Sampler(Struct):
    _fields_ = [("struct_bytes", ctypes.c_size_t), ("top_k", ctypes.c_size_t), ("temperature", ctypes.c_float),
                ("top_p", ctypes.c_float), ("min_p", ctypes.c_float), ("reserved", ctypes.c_uint32)]


class Message(ctypes.Structure):
    _fields_ = [("role", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("text", ctypes.c_char_p),
                ("text_bytes", ctypes.c_size_t)]


# What the functions take. All of them return a status.
_void, _size, _u32, _text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_char_p
FUNCTIONS = {
    "model_load": [_text, _size, ctypes.POINTER(LoadOptions), Handle],
    "model_describe": [_void, ctypes.POINTER(ModelInfo)],
    "model_ends": [_void, Tokens, _size, Size],
    "model_free": [_void],
    "encode": [_void, _text, _size, _u32, Tokens, _size, Size],
    "encode_chat": [_void, ctypes.POINTER(Message), _size, _u32, Tokens, _size, Size],
    "encode_after_reply": [_void, _u32, Tokens, _size, Size],
    "decode": [_void, Tokens, _size, _u32, _text, _size, Size],
    "decoder_new": [_void, _u32, Handle],
    # (POINTER(c_void_p), since ctypes would make a text of a c_char_p, which ends at a zero byte.)
    "decoder_append": [_void, _u32, Handle, Size],
    "decoder_finish": [_void, Handle, Size],
    "decoder_free": [_void],
    "state_new": [_void, _size, Handle],
    "state_free": [_void],
    "forward": [_void, Tokens, _size, ctypes.POINTER(Floats)],
    "sample": [Floats, _size, ctypes.POINTER(Sampler), ctypes.POINTER(ctypes.c_uint64), Tokens],
}


class Error(Exception):
    pass


class Library:
    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        self._library.bitnet_last_error.restype = ctypes.c_char_p
        self._library.bitnet_abi_version.restype = ctypes.c_uint32
        if self._library.bitnet_abi_version() != ABI_VERSION:
            raise Error(f"{path}: this program was written for another version of the library")
        for name, arguments in FUNCTIONS.items():
            function = getattr(self._library, "bitnet_" + name)
            function.argtypes, function.restype = arguments, ctypes.c_int32
            setattr(self, name, self._checked(function))

    def _checked(self, function):
        def call(*arguments):
            if function(*arguments) != 0:
                raise Error(self._library.bitnet_last_error().decode())

        call.unchecked = function
        return call

    def list(self, function, element, *arguments):
        """What a function writes into the caller's memory: it is asked again where there was too little."""
        count = ctypes.c_size_t(256)
        while True:
            memory = (element * count.value)()
            status = function.unchecked(*arguments, memory, count.value, ctypes.byref(count))
            if status == 0:
                return memory[:count.value]
            if status != TOO_SMALL:
                raise Error(self._library.bitnet_last_error().decode())


class Model:
    def __init__(self, library, path, progress=None):
        self.library = library
        self._handle = ctypes.c_void_p()
        options = LoadOptions()
        if progress is not None:
            options.progress = Progress(lambda user, done, all: progress(done, all) or 0)
        path = os.fsencode(path)
        library.model_load(path, len(path), options, self._handle)
        self.info = ModelInfo()
        library.model_describe(self._handle, self.info)
        self.ends = set(library.list(library.model_ends, ctypes.c_uint32, self._handle))

    def __del__(self):
        self.library.model_free(self._handle)

    def encode(self, text, flags=0):
        text = text.encode()
        return self.library.list(self.library.encode, ctypes.c_uint32, self._handle, text, len(text), flags)

    def encode_user(self, text, flags=0):
        """What a user says, and what makes the model reply."""
        text = text.encode()
        message = Message(role=USER, text=text, text_bytes=len(text))
        return self.library.list(self.library.encode_chat, ctypes.c_uint32, self._handle, message, 1, flags)

    def encode_after_reply(self, last):
        return self.library.list(self.library.encode_after_reply, ctypes.c_uint32, self._handle, last)

    def decode(self, tokens, flags=0):
        tokens = (ctypes.c_uint32 * len(tokens))(*tokens)
        text = self.library.list(self.library.decode, ctypes.c_char, self._handle, tokens, len(tokens), flags)
        return text.decode()


class Conversation:
    """A state, and the number that its draws go on from."""

    def __init__(self, model, seed=1, **sampler):
        self.model, self._library = model, model.library
        self._state, self._decoder = ctypes.c_void_p(), ctypes.c_void_p()
        self._library.state_new(model._handle, 0, self._state)
        self._library.decoder_new(model._handle, GOES_ON, self._decoder)
        self._random = ctypes.c_uint64(seed)
        self._sampler = Sampler(**sampler)
        self.reply = []  # the tokens of the last one

    def __del__(self):
        self._library.decoder_free(self._decoder)
        self._library.state_free(self._state)

    def _text(self, function, *arguments):
        text, count = ctypes.c_void_p(), ctypes.c_size_t()
        function(self._decoder, *arguments, text, count)
        return ctypes.string_at(text, count.value).decode()

    def ask(self, tokens, most):
        """Appends tokens; gives the reply in pieces, as it comes."""
        logits, token, ended = Floats(), ctypes.c_uint32(), False
        self.reply = []
        while True:
            self._library.forward(self._state, (ctypes.c_uint32 * len(tokens))(*tokens), len(tokens), logits)
            if ended or len(self.reply) == most:
                break
            self._library.sample(logits, self.model.info.vocab, self._sampler, self._random, token)
            tokens = [token.value]
            self.reply += tokens
            ended = token.value in self.model.ends
            if not ended:
                yield self._text(self._library.decoder_append, token)
        yield self._text(self._library.decoder_finish)


def make_small_file(path):
    """A file as other programs write it: two layers of random weights; a token a byte, one for " b", one ends a turn."""
    rows = random.Random(1)
    hidden, layers, heads, kv_heads, ffn, vocab = 128, 2, 4, 2, 384, 258

    def text(s):
        return struct.pack("<Q", len(s.encode())) + s.encode()

    def array(kind, values):
        return struct.pack("<IIQ", 9, kind, len(values)) + b"".join(values)

    # GPT-2's letters for bytes: those that are visible, and the next free ones from U+0100 on.
    visible = {*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)}
    hidden_bytes = [byte for byte in range(256) if byte not in visible]
    letters = [chr(byte) if byte in visible else chr(256 + hidden_bytes.index(byte)) for byte in range(256)]
    metadata = {"general.architecture": struct.pack("<I", 8) + text("bitnet-b1.58"),
                "bitnet-b1.58.attention.layer_norm_rms_epsilon": struct.pack("<If", 6, 1e-5),
                "tokenizer.ggml.model": struct.pack("<I", 8) + text("gpt2"),
                "tokenizer.ggml.pre": struct.pack("<I", 8) + text("llama-bpe"),
                "tokenizer.ggml.tokens": array(8, [text(s) for s in letters + [letters[32] + "b", "<|eot_id|>"]]),
                "tokenizer.ggml.token_type": array(5, [struct.pack("<i", t) for t in [1] * 257 + [3]]),
                "tokenizer.ggml.merges": array(8, [text(letters[32] + " b")]),
                "tokenizer.chat_template": struct.pack("<I", 8) + text("{{ capitalize }} 'Assistant: ' <|eot_id|>")}
    for key, value in (("context_length", 512), ("embedding_length", hidden), ("block_count", layers),
                       ("feed_forward_length", ffn), ("attention.head_count", heads),
                       ("attention.head_count_kv", kv_heads)):
        metadata["bitnet-b1.58." + key] = struct.pack("<II", 4, value)

    def gain(count):
        return ([count], 0, struct.pack("<f", 1.0) * count)  # F32

    ternary = [a | b << 2 | c << 4 | d << 6 for a in range(3) for b in range(3) for c in range(3) for d in range(3)]

    def projection(count, inputs):  # I2_S: four codes a byte, and a scale
        codes = bytes(rows.choices(ternary, k=count * inputs // 4))
        return ([inputs, count], 36, codes + struct.pack("<f", 0.2) + bytes(28))

    embedding = b"".join(struct.pack("<e", rows.gauss(0, 1)) for _ in range(vocab * hidden))
    tensors = {"token_embd.weight": ([hidden, vocab], 1, embedding), "output_norm.weight": gain(hidden)}
    kv = hidden * kv_heads // heads
    for layer in range(layers):
        for name, tensor in (("attn_norm", gain(hidden)), ("attn_q", projection(hidden, hidden)),
                             ("attn_k", projection(kv, hidden)), ("attn_v", projection(kv, hidden)),
                             ("attn_sub_norm", gain(hidden)), ("attn_output", projection(hidden, hidden)),
                             ("ffn_norm", gain(hidden)), ("ffn_gate", projection(ffn, hidden)),
                             ("ffn_up", projection(ffn, hidden)), ("ffn_sub_norm", gain(ffn)),
                             ("ffn_down", projection(hidden, ffn))):
            tensors[f"blk.{layer}.{name}.weight"] = tensor
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(text(key) + value for key, value in metadata.items())
    data = b""
    for name, (shape, kind, values) in tensors.items():
        header += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += values + bytes(-len(values) % 32)
    with open(path, "wb") as file:
        file.write(header + bytes(-len(header) % 32) + data)


def show(pieces):
    whole = ""
    for piece in pieces:
        print(piece, end="", flush=True)
        whole += piece
    print()
    return whole


def quick(library, options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "quick.gguf")
        make_small_file(path)
        calls = []
        model = Model(library, path, lambda done, all: calls.append((done, all)))
        assert calls and calls[-1][0] == calls[-1][1], calls
        prompt = "Two bits ✓"
        tokens = model.encode(prompt)
        assert model.decode(tokens) == prompt and len(tokens) == len(prompt.encode()) - 1, tokens
        replies = []
        for _ in range(2):
            conversation = Conversation(model, seed=7, temperature=0.7, top_k=40)
            replies.append((show(conversation.ask(tokens, 24)), conversation.reply))
        assert replies[0] == replies[1]
        said = [token for token in replies[0][1] if token not in model.ends]
        assert replies[0][0] == model.decode(said, GOES_ON), said
        options.tokens = 24
        chat(model, options, ["Hello", "Go on"])
        for wrong in ([], [model.info.vocab], [0] * 513):
            try:
                list(Conversation(model).ask(wrong, 1))
                raise AssertionError("this must be refused")
            except Error as error:
                print(error)
        try:
            Model(library, path + ".none")
            raise AssertionError("there is no such file")
        except Error as error:
            print(str(error).replace(folder, ""))


def chat(model, options, lines):
    conversation = Conversation(model, options.seed, temperature=options.temperature)
    for i, line in enumerate(lines):  # (what is sent after the first one goes on in the same state)
        tokens = model.encode_user(line, CHAT_GOES_ON if i else 0)
        if i:
            tokens = model.encode_after_reply(conversation.reply[-1]) + tokens
        show(conversation.ask(tokens, options.tokens))


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("-p", "--prompt", default="")
    parser.add_argument("-n", "--tokens", type=int, default=128)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--library", default=os.path.join(root, "build/release/examples/libbitnet.so"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    library = Library(options.library)
    if options.quick:
        return quick(library, options)
    if options.model is None:
        parser.error("a model is needed")
    model = Model(library, options.model, lambda done, all: print(f"\rloading: {done} of {all} tensors", end="",
                                                                  file=sys.stderr, flush=True))
    print(f"\r{model.info.weight_bytes / 1e6:.0f} MB of weights, {model.info.threads} threads", file=sys.stderr)
    if options.chat:
        return chat(model, options, (line.rstrip("\n") for line in sys.stdin))
    print(options.prompt, end="")
    show(Conversation(model, options.seed, temperature=options.temperature).ask(model.encode(options.prompt),
                                                                              options.tokens))


if __name__ == "__main__":
    try:
        main()
    except Error as error:
        sys.exit(str(error))
