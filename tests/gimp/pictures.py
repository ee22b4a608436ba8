# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw pixels of every GIMP precision, PNG, and the X server's frame buffer; standard library only."""
import array
import math
import random
import struct
import zlib

TYPES = ['u8', 'u16', 'u32', 'half', 'float', 'double']
BYTES = {'u8': 1, 'u16': 2, 'u32': 4, 'half': 2, 'float': 4, 'double': 8}
INTEGER_CODE = {'u8': 'B', 'u16': 'H', 'u32': 'I'}
COMPONENTS = {'RGB': 3, 'RGBA': 4, 'GRAY': 1, 'GRAYA': 2}


def encode(values, kind):
    """Numbers, nominally in [0, 1], to the bytes of a GIMP precision."""
    if kind in INTEGER_CODE:
        top = 256 ** BYTES[kind] - 1
        return array.array(INTEGER_CODE[kind], [round(min(max(v, 0), 1) * top) for v in values]).tobytes()
    return struct.pack('<%d%s' % (len(values), {'half': 'e', 'float': 'f', 'double': 'd'}[kind]), *values)


def decode(data, kind):
    if kind in INTEGER_CODE:
        top = 256 ** BYTES[kind] - 1
        return [v / top for v in array.array(INTEGER_CODE[kind], data)]
    code = {'half': 'e', 'float': 'f', 'double': 'd'}[kind]
    return list(struct.unpack('<%d%s' % (len(data) // BYTES[kind], code), data))


def clean_value(x, y, c):
    """Gradients, a bar and a disc: something to look at and to keep."""
    v = 0.25 + 0.4 * ((x * (c + 1) + 2 * y) % 97) / 97
    if (x // 12) % 3 == c % 3 and (y // 20) % 2:
        v += 0.2
    if math.hypot(x - 40, y - 30) < 14:
        v = 0.8 - 0.15 * c
    return v


def synthetic(width, height, layout, sigma, seed=1):
    """A noisy picture in [0, 1]; alpha has clear, half clear and opaque parts."""
    rng = random.Random(seed)
    n = COMPONENTS[layout]
    colours = 3 if layout.startswith('RGB') else 1
    values = []
    for y in range(height):
        for x in range(width):
            for c in range(colours):
                values.append(min(max(clean_value(x, y, c) + rng.gauss(0, sigma), 0.02), 0.98))
            if n > colours:
                values.append(1.0 if x % 24 < 13 else 0.0 if x % 24 < 16 else 0.5)
    return values


def clean(width, height, layout):
    colours = 3 if layout.startswith('RGB') else 1
    return [clean_value(x, y, c) for y in range(height) for x in range(width) for c in range(colours)]


def icc_profile(gamma):
    """An ICC matrix profile with primaries wider than sRGB's (Adobe RGB's) and a power law."""
    def fixed(*values):
        return struct.pack('>%di' % len(values), *[round(v * 65536) for v in values])

    def element(kind, body):
        return kind + b'\0\0\0\0' + body

    curve = element(b'curv', struct.pack('>IH', 1, round(gamma * 256)) + b'\0\0')
    tags = [(b'desc', element(b'desc', struct.pack('>I', 5) + b'test\0' + bytes(78 + 3))),
            (b'cprt', element(b'text', b'public domain\0\0\0')),
            (b'wtpt', element(b'XYZ ', fixed(0.9642, 1.0, 0.8249))),
            (b'rXYZ', element(b'XYZ ', fixed(0.60974, 0.31111, 0.01947))),
            (b'gXYZ', element(b'XYZ ', fixed(0.20528, 0.62567, 0.06087))),
            (b'bXYZ', element(b'XYZ ', fixed(0.14919, 0.06322, 0.74457))),
            (b'rTRC', curve), (b'gTRC', curve), (b'bTRC', curve)]
    directory, data = struct.pack('>I', len(tags)), b''
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags:
        body += bytes(-len(body) % 4)
        directory += name + struct.pack('>II', start + len(data), len(body))
        data += body
    header = struct.pack('>I4sI4s4s4s12s4sIIII', start + len(data), b'\0\0\0\0', 0x02400000, b'mntr', b'RGB ', b'XYZ ',
                         bytes(12), b'acsp', 0, 0, 0, 0) + bytes(12) + fixed(0.9642, 1.0, 0.8249)
    return header + bytes(128 - len(header)) + directory + data


def png_write(path, width, height, components, data):
    """8-bit PNG; data: rows without padding."""
    def chunk(name, body):
        return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))
    stride = width * components
    rows = b''.join(b'\0' + data[y * stride:(y + 1) * stride] for y in range(height))
    with open(path, 'wb') as f:
        colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[components]
        f.write(b'\x89PNG\r\n\x1a\n'
                + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, colour_type, 0, 0, 0))
                + chunk(b'IDAT', zlib.compress(rows, 6)) + chunk(b'IEND', b''))


def framebuffer_read(path, x=0, y=0, width=None, height=None):
    """A rectangle of the file that Xvfb -fbdir keeps (XWD, 32 bits per pixel), as far as the screen has it:
    width, height, RGB bytes."""
    with open(path, 'rb') as f:
        header = struct.unpack('>25I', f.read(100))
        size, full_width, full_height, stride, colours = header[0], header[4], header[5], header[12], header[19]
        x0, y0 = max(x, 0), max(y, 0)
        x1 = full_width if width is None else min(x + width, full_width)
        y1 = full_height if height is None else min(y + height, full_height)
        if x1 <= x0 or y1 <= y0:
            return 0, 0, b''
        f.seek(size + colours * 12 + y0 * stride)
        lines = f.read((y1 - y0) * stride)
    rows = b''.join(lines[i * stride + x0 * 4:i * stride + x1 * 4] for i in range(y1 - y0))
    rgb = bytearray((x1 - x0) * (y1 - y0) * 3)
    rgb[0::3], rgb[1::3], rgb[2::3] = rows[2::4], rows[1::4], rows[0::4]
    return x1 - x0, y1 - y0, bytes(rgb)


def crop(picture, x, y, width, height):
    """A rectangle of (width, height, RGB bytes) that lies inside."""
    full_width, _, data = picture
    rows = [data[(row * full_width + x) * 3:(row * full_width + x + width) * 3] for row in range(y, y + height)]
    return width, height, b''.join(rows)


def different_pixels(a, b):
    """How many pixels of two pictures differ; all if the pictures have not the same size."""
    if a[:2] != b[:2]:
        return max(a[0] * a[1], b[0] * b[1])
    stride = a[0] * 3
    count = 0
    for start in range(0, len(a[2]), stride):
        one, other = a[2][start:start + stride], b[2][start:start + stride]
        if one != other:
            count += sum(one[i:i + 3] != other[i:i + 3] for i in range(0, stride, 3))
    return count


def compare(one, other):
    """What is wrong if two 8-bit pictures should be the same result.  They may differ by one level here and there: babl, which converts GIMP's pixels,
    chooses among conversions of about the same speed by timing them at each start, and these do not round alike."""
    if len(one) != len(other):
        return '%d bytes instead of %d' % (len(one), len(other))
    far = sum(abs(a - b) > 1 for a, b in zip(one, other))
    near = sum(a != b for a, b in zip(one, other))
    return '%d of %d bytes differ, %d by more than 1' % (near, len(one), far) if far or near > 0.01 * len(one) else None
