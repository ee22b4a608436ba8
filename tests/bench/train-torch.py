#!/usr/bin/python3
"""Training speed of the engine beside the same network in PyTorch, in one run on this machine.

    tests/bench/train-torch.py PROGRAM      PROGRAM: the program diffusion of a build folder

The twin has the default model's network, batch and crop, in bf16 by autocast with channels last, Adam with an average
of the weights beside it.  Its samples are drawn once, before the clock starts: only the network is timed.  It is timed
in f32 as well, which is faster on processors without bf16.
"""
import json
import os
import subprocess
import sys
import time

import torch
from torch import nn

BATCH, CROP, STEPS = 8, 128, 6
PATIENCE = 60           # seconds, after which no further step is timed
CHANNELS_IN, CHANNELS_OUT = 20, 12


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4) * self.gain


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(Norm(width), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
                                  nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x):
        return x + self.body(x)


class Network(nn.Module):
    def __init__(self, widths, blocks):
        super().__init__()
        last = len(widths) - 1
        level_of = lambda level: nn.Sequential(*[Block(widths[level]) for _ in range(blocks[level])])
        self.stem = nn.Conv2d(CHANNELS_IN, widths[0], 3, padding=1)
        self.down = nn.ModuleList(level_of(level) for level in range(last))
        self.reduce = nn.ModuleList(nn.Conv2d(widths[level], widths[level + 1], 2, stride=2) for level in range(last))
        self.middle = level_of(last)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2)
                                     for level in range(last))
        self.up = nn.ModuleList(level_of(level) for level in range(last))
        self.head = nn.Sequential(Norm(widths[0]), nn.Conv2d(widths[0], CHANNELS_OUT, 3, padding=1))

    def forward(self, x):
        skips = []
        x = self.stem(x)
        for down, reduce in zip(self.down, self.reduce):
            x = down(x)
            skips.append(x)
            x = reduce(x)
        x = self.middle(x)
        for level in reversed(range(len(skips))):
            x = self.up[level](skips[level] + self.enlarge[level](x))
        return self.head(x)


def read_network(program):
    """Widths and blocks of the default model, by what the program says of it."""
    text = subprocess.run([program, 'info', 'default'], check=True, capture_output=True, text=True).stdout
    lines = dict(line.split(': ', 1) for line in text.splitlines() if not line.startswith(' ') and ': ' in line)
    return [[int(number) for number in lines[key].split(',')] for key in ('widths', 'blocks')]


def torch_rate(shape, threads, bf16):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = Network(*shape).to(memory_format=torch.channels_last)
    average = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.99))
    x = torch.randn(BATCH, CHANNELS_IN, CROP // 2, CROP // 2).to(memory_format=torch.channels_last)
    target = torch.randn(BATCH, CHANNELS_OUT, CROP // 2, CROP // 2).to(memory_format=torch.channels_last)
    best, begin = float('inf'), time.monotonic()
    for _ in range(STEPS):
        if time.monotonic() - begin > PATIENCE:
            break
        start = time.monotonic()
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=bf16):
            output = network(x)
        loss = (output.float() - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch._foreach_mul_(average, 0.999)
        torch._foreach_add_(average, [p.detach() for p in network.parameters()], alpha=0.001)
        best = min(best, time.monotonic() - start)
    return BATCH / best


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    threads = len({open(f'/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list').read()
                   for cpu in os.sched_getaffinity(0)})
    ours = json.loads(subprocess.run([sys.argv[1], 'bench', '--json', '--only', 'train', '--threads', str(threads)],
                                     check=True, capture_output=True, text=True).stdout)['train_samples_per_s']
    print(f'{BATCH} crops of {CROP} x {CROP}, {threads} threads: gimp-diffusion {ours:.1f} samples/s', flush=True)
    shape = read_network(sys.argv[1])
    for name, bf16 in ('f32', False), ('bf16', True):
        theirs = torch_rate(shape, threads, bf16)
        print(f'PyTorch {torch.__version__}, {name}: {theirs:.2g} samples/s: {ours / theirs:.2f} times as fast', flush=True)


if __name__ == '__main__':
    main()
