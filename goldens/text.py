"""Two small tokenizers, trained here, and what they make of hard texts."""
import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["<unk>", "<s>", "</s>"]
SUBJECTS = ["the kite", "a stone", "the old sailor", "my neighbour", "the café", "nobody", "the thermometer", "another theory"]
VERBS = ["flies over", "doesn't know", "rests beside", "was thinking of", "weighs more than", "cannot answer", "followed"]
OBJECTS = ["the harbour", "the weather", "three other things", "an unusual answer", "the northern coast", "12 apples", "€3.50"]
LINES = [
    "Why does the wind turn? Because the air is warmer there than here.",
    "Die Straße ist naß; größere Schiffe können über Nacht im Hafen bleiben.",
    "L'été dernier, la théière était déjà cassée.",
    "El niño señaló la montaña más pequeña.",
    "Ветер над морем и над полем; море и ветер.",
    "風が吹くと凧が上がる。風が止むと凧は落ちる。",
    "def fly(kite):\n    return kite.height + 1\n\n\tif wind > 3:\n        fly(kite)",
    "1, 2, 3, 10, 100, 1000; 2024-05-17; 3.14159",
    "It's what they'd said: \"we'll see\", and they've seen.",
]
TEXTS = [
    "", " ", "  ", "   ", "a", " a", "a ", "  a  b  ", "the", " the", "the the the", "The kite flies over the harbour.",
    "thethethe", "the\nthe\n\nthe", "\n", "\n\n\n", "\t", "\t\tx\t", "a\r\nb", "\r", "kite.kite,kite;kite", "don't can't they've we'll",
    "DON'T", "1", "12", "123456789", "1,000,000.00", "3.14159 2024-05-17", "x=1;y=22;z=333", "((([[[{{{", "!!??..,,;;", "___", "#%&*",
    "def f(x):\n    return x + 1", "http://example.org/a?b=c&d=%20", "mail@example.org", "\\n is not a newline", "\"quoted\" 'text'",
    "é", "e\u0301", "naïve café", "größere Straße", "ß", "ẞ", "ñandú", "Ветер", "ветер над морем", "Ж", "風が吹く", "日本語のテキスト", "한국어",
    "العربية", "עברית", "ไทย", "हिन्दी", "😊", "👩\u200d👩\u200d👧", "🇫🇷", "a😊b", "€3.50", "½ ² ™", "—–-", "\u00a0", "a\u00a0b", "\u200b", "\u200d",
    "\ufeff", "\u2028", "\u0000", "\u0007bell", "\u007f", "\ufffd", "𝔘𝔫𝔦", "🜁", "\U0010ffff", "▁", "▁the", "a▁b", "<0x41>", "<0xFF>", "Ġ", "Ġthe", "ĠĊ",
    "a" * 40, "kite" * 12, " " * 17, "\n" * 9, "the kite " * 8, "é" * 7, "😊" * 3,
]
SPECIAL_TEXTS = ["<s>", "</s>", "a<s>b", "<s>the kite</s>", "a </s> b", "</s></s>", "<S>", "< s>", "<unk>", "é<unk> <s>"]


def corpus():
    lines = [f"{subject} {verb} {thing}." for subject in SUBJECTS for verb in VERBS for thing in OBJECTS]
    return lines + [line[0].upper() + line[1:] for line in lines[::3]] + LINES * 12


def byte_level():
    """As GPT-2's: bytes as characters, words split off by a pattern."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return tokenizer


def byte_fallback():
    """As Llama's and Mistral's, converted from sentencepiece: "▁" for a space and before every text, no words, a token for each byte, and
    every pair whose join is a piece is a merge, in the order of the pieces."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    trained.train_from_iterator(corpus(), trainer)
    pieces = sorted(trained.get_vocab().items(), key=lambda pair: pair[1])
    pieces = [piece for piece, _ in pieces if piece not in SPECIAL]
    letters, longer = sorted(p for p in pieces if len(p) == 1), [p for p in pieces if len(p) > 1]
    order = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + longer + letters
    vocab = {piece: at for at, piece in enumerate(order)}
    merges = []
    for piece in longer:
        pairs = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        merges += sorted(((a, b) for a, b in pairs if a in vocab and b in vocab), key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    tokenizer = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return tokenizer


def case(tokenizer, text):
    """Ids without a beginning, and the text that they make. Offsets where they are those of characters of one byte."""
    encoded = tokenizer.encode(text, add_special_tokens=False)
    made = {"text": text, "ids": encoded.ids, "decoded": tokenizer.decode(encoded.ids)}
    if text.isascii() and made["decoded"] == text:
        made["offsets"] = [start for start, _ in encoded.offsets]
    return made


def make(folder):
    for name, tokenizer in {"byte_level": byte_level(), "byte_fallback": byte_fallback()}.items():
        to = folder / "tokenizers" / name
        to.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(to / "tokenizer.json"), pretty=False)
        tokenizer.encode_special_tokens = True
        cases = [case(tokenizer, text) for text in TEXTS]
        as_text = [tokenizer.encode(text, add_special_tokens=False).ids for text in SPECIAL_TEXTS]
        tokenizer.encode_special_tokens = False
        as_tokens = [tokenizer.encode(text, add_special_tokens=False).ids for text in SPECIAL_TEXTS]
        special = [
            {"text": text, "ids_as_text": plain, "ids_as_tokens": tokens}
            for text, plain, tokens in zip(SPECIAL_TEXTS, as_text, as_tokens)
        ]
        lines = lambda rows: ",\n".join("  " + json.dumps(row, ensure_ascii=True) for row in rows)
        text = f'{{\n "vocab_size": {tokenizer.get_vocab_size()},\n "cases": [\n{lines(cases)}\n ],\n "special_texts": [\n{lines(special)}\n ]\n}}\n'
        (to / "tokens.json").write_text(text)
