"""Blocks of the GGUF types, and the numbers that the gguf package reads in them."""
import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from decoder import save

ROWS, WIDTH = 2, 512
# Where the float16 scales of a block stand, for types that the package reads and does not write.
SCALES = {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def make(folder):
    random = np.random.Generator(np.random.PCG64(41))
    tensors = {}
    for name in ["Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]:
        kind = GGMLQuantizationType[name]
        weights, size = GGML_QUANT_SIZES[kind]
        if name in SCALES:
            blocks = random.integers(0, 256, (ROWS * WIDTH // weights, size), dtype=np.uint8)
            for at in SCALES[name]:
                scale = random.uniform(0.001, 0.02, len(blocks)).astype(np.float16)
                blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
            data = blocks.reshape(ROWS, -1)
        else:
            data = gguf.quantize(random.normal(0, 0.5, (ROWS, WIDTH)).astype(np.float32), kind)
        values = gguf.dequantize(data, kind)
        tensors[f"{name}.blocks"] = torch.from_numpy(data.copy())
        tensors[f"{name}.values"] = torch.from_numpy(values.astype(np.float32).reshape(ROWS, WIDTH).copy())
    save(folder / "quantized.safetensors", tensors)
