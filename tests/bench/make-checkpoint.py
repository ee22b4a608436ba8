#!/usr/bin/python3
# A checkpoint of Stable Diffusion 1.5's size, layout and names, with random weights, to measure speed and memory with:
#   make-checkpoint.py FILE [f16|bf16|f32]
# SPDX-License-Identifier: GPL-3.0-or-later
import json, random, struct, sys

tensors = []  # name, shape, standard deviation; 1: ones, 0: zeros


def norm (name, n):
    tensors.append ((name + ".weight", [n], 1))
    tensors.append ((name + ".bias", [n], 0))


def layer (name, out, inputs, side=None, bias=True):
    shape = [out, inputs] + ([side, side] if side else [])
    fan = inputs * (side or 1) ** 2
    tensors.append ((name + ".weight", shape, fan ** -0.5))
    if bias:
        tensors.append ((name + ".bias", [out], 0))


def unet (width=320, context=768):
    p = "model.diffusion_model."

    def res (name, a, b):
        norm (name + ".in_layers.0", a)
        layer (name + ".in_layers.2", b, a, 3)
        layer (name + ".emb_layers.1", b, 4 * width)
        norm (name + ".out_layers.0", b)
        layer (name + ".out_layers.3", b, b, 3)
        if a != b:
            layer (name + ".skip_connection", b, a, 1)

    def spatial (name, c):
        block = name + ".transformer_blocks.0"
        norm (name + ".norm", c)
        layer (name + ".proj_in", c, c, 1)
        for attention, source in (("attn1", c), ("attn2", context)):
            layer (f"{block}.{attention}.to_q", c, c, bias=False)
            layer (f"{block}.{attention}.to_k", c, source, bias=False)
            layer (f"{block}.{attention}.to_v", c, source, bias=False)
            layer (f"{block}.{attention}.to_out.0", c, c)
        layer (block + ".ff.net.0.proj", 8 * c, c)
        layer (block + ".ff.net.2", c, 4 * c)
        for i in (1, 2, 3):
            norm (f"{block}.norm{i}", c)
        layer (name + ".proj_out", c, c, 1)

    layer (p + "time_embed.0", 4 * width, width)
    layer (p + "time_embed.2", 4 * width, 4 * width)
    layer (p + "input_blocks.0.0", width, 4, 3)
    kept, channels, index = [width], width, 1
    for level, factor in enumerate ((1, 2, 4, 4)):
        for _ in range (2):
            res (f"{p}input_blocks.{index}.0", channels, width * factor)
            channels = width * factor
            if level < 3:
                spatial (f"{p}input_blocks.{index}.1", channels)
            kept.append (channels)
            index += 1
        if level < 3:
            layer (f"{p}input_blocks.{index}.0.op", channels, channels, 3)
            kept.append (channels)
            index += 1
    res (p + "middle_block.0", channels, channels)
    spatial (p + "middle_block.1", channels)
    res (p + "middle_block.2", channels, channels)
    index = 0
    for level, factor in reversed (list (enumerate ((1, 2, 4, 4)))):
        for i in range (3):
            res (f"{p}output_blocks.{index}.0", channels + kept.pop (), width * factor)
            channels = width * factor
            if level < 3:
                spatial (f"{p}output_blocks.{index}.1", channels)
            if level > 0 and i == 2:
                layer (f"{p}output_blocks.{index}.{2 if level < 3 else 1}.conv", channels, channels, 3)
            index += 1
    norm (p + "out.0", channels)
    layer (p + "out.2", 4, channels, 3)


def autoencoder (width=128):
    p = "first_stage_model."

    def res (name, a, b):
        norm (name + ".norm1", a)
        layer (name + ".conv1", b, a, 3)
        norm (name + ".norm2", b)
        layer (name + ".conv2", b, b, 3)
        if a != b:
            layer (name + ".nin_shortcut", b, a, 1)

    def middle (name, c):
        res (name + ".block_1", c, c)
        norm (name + ".attn_1.norm", c)
        for part in ("q", "k", "v", "proj_out"):
            layer (f"{name}.attn_1.{part}", c, c, 1)
        res (name + ".block_2", c, c)

    channels = width
    layer (p + "encoder.conv_in", width, 3, 3)
    for level, factor in enumerate ((1, 2, 4, 4)):
        for i in range (2):
            res (f"{p}encoder.down.{level}.block.{i}", channels, width * factor)
            channels = width * factor
        if level < 3:
            layer (f"{p}encoder.down.{level}.downsample.conv", channels, channels, 3)
    middle (p + "encoder.mid", channels)
    norm (p + "encoder.norm_out", channels)
    layer (p + "encoder.conv_out", 8, channels, 3)
    layer (p + "quant_conv", 8, 8, 1)
    layer (p + "post_quant_conv", 4, 4, 1)
    layer (p + "decoder.conv_in", channels, 4, 3)
    middle (p + "decoder.mid", channels)
    for level, factor in reversed (list (enumerate ((1, 2, 4, 4)))):
        for i in range (3):
            res (f"{p}decoder.up.{level}.block.{i}", channels, width * factor)
            channels = width * factor
        if level > 0:
            layer (f"{p}decoder.up.{level}.upsample.conv", channels, channels, 3)
    norm (p + "decoder.norm_out", channels)
    layer (p + "decoder.conv_out", 3, channels, 3)


def text (width=768, layers=12):
    p = "cond_stage_model.transformer.text_model."
    tensors.append ((p + "embeddings.token_embedding.weight", [49408, width], 0.02))
    tensors.append ((p + "embeddings.position_embedding.weight", [77, width], 0.02))
    for i in range (layers):
        block = f"{p}encoder.layers.{i}."
        norm (block + "layer_norm1", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            layer (block + "self_attn." + part, width, width)
        norm (block + "layer_norm2", width)
        layer (block + "mlp.fc1", 4 * width, width)
        layer (block + "mlp.fc2", width, 4 * width)
    norm (p + "final_layer_norm", width)


def main ():
    path, kind = sys.argv[1], (sys.argv[2:] or ["f16"])[0]
    size = 4 if kind == "f32" else 2
    pack = {"f16": lambda v: struct.pack (f"<{len (v)}e", *v), "f32": lambda v: struct.pack (f"<{len (v)}f", *v),
            "bf16": lambda v: b"".join (struct.pack ("<f", x)[2:] for x in v)}[kind]
    unet ()
    autoencoder ()
    text ()
    header, offset = {}, 0
    for name, shape, _ in tensors:
        count = 1
        for n in shape:
            count *= n
        header[name] = {"dtype": kind.upper (), "shape": shape, "data_offsets": [offset, offset + count * size]}
        offset += count * size
    # The same random numbers again and again, for each standard deviation: nobody looks at them, and it is quick.
    random.seed (1)
    base, blocks = [random.gauss (0, 1) for _ in range (65521)], {}
    with open (path, "wb") as file:
        text_header = json.dumps (header).encode ()
        file.write (struct.pack ("<Q", len (text_header)) + text_header)
        for name, shape, deviation in tensors:
            begin, end = header[name]["data_offsets"]
            if deviation not in blocks:
                blocks[deviation] = pack ([float (deviation)] * 65521 if deviation in (0, 1)
                                          else [x * deviation for x in base])
            block, left = blocks[deviation], end - begin
            while left > 0:
                file.write (block[:left])
                left -= len (block)
    print (f"{path}: {len (tensors)} tensors, {offset / 1e9:.2f} GB")


main ()
