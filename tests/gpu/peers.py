#!/usr/bin/env python3
"""Measures PyTorch on the architectures of the benchmark models, one model a command, and prints its best mode.

    tests/gpu/peers.py MODEL [--batch N] [--mode eager|graphs|compile|autotune]... [--seconds S] [--json OUT]

MODEL: resnet50, mobilenet_v2, bert_base, vit_b16, gpt2_small_decode, gpt2_small_prefill, llama_135m_decode,
llama_135m_prefill, copy (bandwidth of memory), decode_1gb (products of one row with 1 GB of weights), matmul (large products).
All in float16, with weights of no meaning. `eager` and `graphs` take seconds, `compile` a minute, `autotune` several.
"""
import argparse
import json
import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

DEVICE, HALF = "cuda", torch.float16


def conv(inputs, outputs, size, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, width, 1), nn.ReLU(), conv(width, width, 3, stride), nn.ReLU(), conv(width, 4 * width, 1))
        same = stride == 1 and inputs == 4 * width
        self.short = nn.Identity() if same else conv(inputs, 4 * width, 1, stride)

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x))


def resnet50():
    layers, inputs = [conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for width, count, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for i in range(count):
            layers.append(Bottleneck(inputs, width, stride if i == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class Inverted(nn.Module):
    def __init__(self, inputs, outputs, stride, expand):
        super().__init__()
        wide = inputs * expand
        first = [conv(inputs, wide, 1), nn.ReLU6()] if expand > 1 else []
        self.body = nn.Sequential(*first, conv(wide, wide, 3, stride, wide), nn.ReLU6(), conv(wide, outputs, 1))
        self.same = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.same else self.body(x)


def mobilenet_v2():
    layers, inputs = [conv(3, 32, 3, 2), nn.ReLU6()], 32
    for expand, outputs, count, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for i in range(count):
            layers.append(Inverted(inputs, outputs, stride if i == 0 else 1, expand))
            inputs = outputs
    return nn.Sequential(*layers, conv(320, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


def heads(x, count):
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


class Encoder(nn.Module):
    """A layer with its norms before (ViT) or behind (BERT)."""

    def __init__(self, width, count, wide, first):
        super().__init__()
        self.count, self.first = count, first
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, wide), nn.Linear(wide, width)
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)

    def attend(self, x, mask):
        q, k, v = (heads(part, self.count) for part in self.qkv(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))

    def forward(self, x, mask=None):
        if self.first:
            x = x + self.attend(self.one(x), mask)
            return x + self.down(F.gelu(self.up(self.two(x))))
        x = self.one(x + self.attend(x, mask))
        return self.two(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(30522, 768), nn.Embedding(512, 768), nn.Embedding(2, 768)
        self.norm, self.pool = nn.LayerNorm(768), nn.Linear(768, 768)
        self.layers = nn.ModuleList(Encoder(768, 12, 3072, False) for _ in range(12))

    def forward(self, ids, mask, kinds):
        x = self.norm(self.words(ids) + self.kinds(kinds) + self.places.weight[: ids.shape[1]])
        mask = ((1 - mask[:, None, None].to(x.dtype)) * -10000)
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pool(x[:, 0]))


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 768, 16, 16)
        self.first, self.places = nn.Parameter(torch.zeros(1, 1, 768)), nn.Parameter(torch.zeros(1, 197, 768))
        self.layers = nn.Sequential(*(Encoder(768, 12, 3072, True) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(768), nn.Linear(768, 1000)

    def forward(self, pixels):
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.layers(x))[:, 0])


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(50257, 768), nn.Embedding(1024, 768), nn.LayerNorm(768)
        layer = lambda: nn.ModuleDict(dict(one=nn.LayerNorm(768), qkv=nn.Linear(768, 2304), out=nn.Linear(768, 768), two=nn.LayerNorm(768), up=nn.Linear(768, 3072), down=nn.Linear(3072, 768)))
        self.layers = nn.ModuleList(layer() for _ in range(12))

    def forward(self, ids, places, past=None):
        x, present = self.words(ids) + self.places(places), []
        for i, layer in enumerate(self.layers):
            q, k, v = (heads(part, 12) for part in layer["qkv"](layer["one"](x)).chunk(3, -1))
            if past is not None:
                k, v = torch.cat([past[i][0], k], 2), torch.cat([past[i][1], v], 2)
            present.append((k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
            x = x + layer["out"](y.transpose(1, 2).flatten(2))
            x = x + layer["down"](F.gelu(layer["up"](layer["two"](x)), approximate="tanh"))
        return F.linear(self.norm(x), self.words.weight), present


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.norm = nn.Embedding(49152, 576), nn.RMSNorm(576, 1e-5)
        linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
        layer = lambda: nn.ModuleDict(dict(one=nn.RMSNorm(576, 1e-5), q=linear(576, 576), k=linear(576, 192), v=linear(576, 192), out=linear(576, 576), two=nn.RMSNorm(576, 1e-5), gate=linear(576, 1536), up=linear(576, 1536), down=linear(1536, 576)))
        self.layers = nn.ModuleList(layer() for _ in range(30))
        self.register_buffer("rates", 10000.0 ** (-torch.arange(0, 64, 2) / 64.0))

    def forward(self, ids, places, past=None):
        angles = places[..., None].float() * self.rates.float()
        angles = torch.cat([angles, angles], -1)[:, None]
        cos, sin = angles.cos().to(HALF), angles.sin().to(HALF)
        turned = lambda t: t * cos + torch.cat([-t[..., 32:], t[..., :32]], -1) * sin
        x, present = self.words(ids), []
        for i, layer in enumerate(self.layers):
            y = layer["one"](x)
            q, k, v = turned(heads(layer["q"](y), 9)), turned(heads(layer["k"](y), 3)), heads(layer["v"](y), 3)
            if past is not None:
                k, v = torch.cat([past[i][0], k], 2), torch.cat([past[i][1], v], 2)
            present.append((k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None, enable_gqa=True)
            x = x + layer["out"](y.transpose(1, 2).flatten(2))
            y = layer["two"](x)
            x = x + layer["down"](F.silu(layer["gate"](y)) * layer["up"](y))
        return F.linear(self.norm(x), self.words.weight), present


def ids(batch, length, most):
    return torch.randint(most, (batch, length), device=DEVICE)


def past(batch, layers, count, length=128):
    one = lambda: torch.randn(batch, count, length, 64, device=DEVICE, dtype=HALF)
    return [(one(), one()) for _ in range(layers)]


def places(batch, start, count):
    return torch.arange(start, start + count, device=DEVICE).repeat(batch, 1)


def image(batch):
    return (torch.randn(batch, 3, 224, 224, device=DEVICE, dtype=HALF),)


MODELS = {
    "resnet50": (resnet50, image),
    "mobilenet_v2": (mobilenet_v2, image),
    "vit_b16": (Vit, image),
    "bert_base": (Bert, lambda b: (ids(b, 128, 30522), torch.ones(b, 128, device=DEVICE, dtype=torch.long), ids(b, 128, 2))),
    "gpt2_small_prefill": (Gpt, lambda b: (ids(b, 128, 50257), places(b, 0, 128))),
    "gpt2_small_decode": (Gpt, lambda b: (ids(b, 1, 50257), places(b, 128, 1), past(b, 12, 12))),
    "llama_135m_prefill": (Llama, lambda b: (ids(b, 128, 49152), places(b, 0, 128))),
    "llama_135m_decode": (Llama, lambda b: (ids(b, 1, 49152), places(b, 128, 1), past(b, 30, 3))),
}


def median_ms(run, seconds):
    """The median time of a run that leaves its work in the current stream."""
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 10:
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def in_graph(model, inputs):
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            model(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model(*inputs)
    return graph.replay


def modes(model, inputs):
    return {
        "eager": lambda: lambda: model(*inputs),
        "graphs": lambda: in_graph(model, inputs),
        "compile": lambda: (lambda compiled: lambda: compiled(*inputs))(torch.compile(model, mode="reduce-overhead")),
        "autotune": lambda: (lambda compiled: lambda: compiled(*inputs))(torch.compile(model, mode="max-autotune")),
    }


def measured(args):
    """Milliseconds by mode, and what they are of: bytes or operations, where that is the question."""
    if args.model == "copy":
        source = torch.empty(1 << 30, device=DEVICE, dtype=torch.uint8)
        target = torch.empty_like(source)
        return {"copy": median_ms(lambda: target.copy_(source), args.seconds)}, {"bytes": 2 << 30}
    if args.model == "decode_1gb":
        weights = [torch.randn(4096, 16384, device=DEVICE, dtype=HALF) for _ in range(8)]
        x = torch.randn(1, 4096, device=DEVICE, dtype=HALF)
        return {"eager": median_ms(lambda: [x @ w for w in weights], args.seconds)}, {"bytes": 1 << 30}
    if args.model == "matmul":
        times = {}
        for n in (2048, 4096, 8192):
            a, b = (torch.randn(n, n, device=DEVICE, dtype=HALF) for _ in range(2))
            times[f"{n}"] = median_ms(lambda: a @ b, args.seconds)
        return times, {"operations": {f"{n}": 2 * n**3 for n in (2048, 4096, 8192)}}
    make, given = MODELS[args.model]
    model = make().eval().to(DEVICE, HALF)
    inputs = given(args.batch)
    return {mode: median_ms(modes(model, inputs)[mode](), args.seconds) for mode in args.mode}, {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=[*MODELS, "copy", "decode_1gb", "matmul"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--mode", action="append", choices=["eager", "graphs", "compile", "autotune"])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    args.mode = args.mode or ["eager", "graphs", "compile"]
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        times, of = measured(args)
    best = min(times, key=times.get)
    for name, ms in times.items():
        rate = of["bytes"] / ms / 1e6 if "bytes" in of else of["operations"][name] / ms / 1e9 if "operations" in of else math.nan
        print(f"PyTorch {torch.__version__} {args.model} x{args.batch} {name}: {ms:.4f} ms" + ("" if math.isnan(rate) else f", {rate:.1f} G a second"))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"median_ms": times, "best": best, "best_ms": times[best], **of}, file)


if __name__ == "__main__":
    main()
