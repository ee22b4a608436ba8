#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""corpus.py TREE: what models/fetch-corpus takes and leaves, with folders of a few pictures and without a package."""
import csv
import importlib.util
import os
import subprocess
import sys
import tempfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace

sys.dont_write_bytecode = True
try:
    import numpy
    from PIL import Image
except ImportError:
    print('1..0 # SKIP python3-numpy or python3-pil is not installed')
    sys.exit(0)

count = 0


def check(name, good, what=''):
    global count
    count += 1
    print('%s %d - %s' % ('ok' if good else 'not ok', count, name))
    if not good and what:
        print('# %s' % (what,))


def load(tree):
    loader = SourceFileLoader('fetch_corpus', os.path.join(tree, 'models', 'fetch-corpus'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('fetch_corpus', loader))
    loader.exec_module(module)
    return module


def shapes(seed):
    """A smooth picture that has shapes of its own."""
    rng = numpy.random.default_rng(seed)
    return Image.fromarray(rng.integers(60, 200, (12, 16, 3), dtype=numpy.uint8)).resize((640, 480), Image.BICUBIC)


def build(corpus, folder, *forbidden):
    out = folder.with_name(folder.name + ' out')
    out.mkdir(exist_ok=True)
    rows, dropped = corpus.build(corpus.candidates_in(folder, 'photos', 'mix'), out, corpus.Forbidden(forbidden))
    return {row[3] for row in rows}, {path: reason for _, path, reason in dropped}


def check_broken(corpus, place):
    folder = place / 'broken'
    folder.mkdir()
    shapes(1).save(folder / 'a.png')
    (folder / 'b.png').write_bytes((folder / 'a.png').read_bytes()[:2000])
    (folder / 'c.jpg').write_bytes(b'this is no picture')
    shapes(2).save(folder / 'd.png')
    try:
        kept, dropped = build(corpus, folder)
    except Exception as error:  # whatever it is, that is what is wrong
        kept, dropped = set(), repr(error)
    check('broken files are named and the others are taken', kept == {'a.png', 'd.png'} and sorted(dropped) == ['b.png', 'c.jpg'], dropped)


def check_licence(corpus, place):
    folder = place / 'licence'
    folder.mkdir()
    shapes(3).save(folder / 'a.png')
    candidates = [candidate._replace(licence=corpus.licence_of('a.png', [])[0]) for candidate in corpus.candidates_in(folder, 'photos', 'mix')]
    rows, dropped = corpus.build(candidates, place, corpus.Forbidden([]))
    check('without a licence no picture is taken', not rows and dropped[0][2] == 'no licence named', dropped)


def check_forbidden(corpus, place):
    """Pictures that are forbidden in other modes than RGB, and what are masks by their names."""
    taken = place / 'taken'
    taken.mkdir()
    grey16 = Image.fromarray((numpy.asarray(shapes(12).convert('L'), numpy.uint16) * 257))
    versions = {10: shapes(10).convert('L'), 11: shapes(11).convert('P'), 12: grey16, 13: shapes(13).convert('RGBA'), 14: shapes(14)}
    for seed in [*versions, 15]:
        shapes(seed).save(taken / ('%d.png' % seed))
    forbidden = place / 'forbidden'
    forbidden.mkdir()
    for seed, picture in versions.items():
        picture.save(forbidden / ('%d%s.png' % (seed, '.hole.mask' if seed == 14 else '')))
    Image.new('L', (640, 480), 99).save(forbidden / 'flat.png')  # has no shape
    kept, dropped = build(corpus, taken, forbidden)
    check('pictures of any mode are forbidden, masks by name are not, and a flat one forbids nothing', kept == {'14.png', '15.png'},
          'taken: %s' % sorted(kept))


def check_digest(corpus, place):
    """Another version of a package is another corpus, and one that is not whole is not finished."""
    packages = place / 'packages'
    packages.mkdir()
    options = SimpleNamespace(out=place, packages=packages, extra=[], paintings=None, exclude_like=[])
    digests = []
    for version in ('4%3a1.0-1', '4%3a1.1-1'):
        for source in corpus.SOURCES:
            for old in packages.glob(source.package + '_*'):
                old.unlink()
            (packages / ('%s_%s_all.deb' % (source.package, version))).touch()
        digests += [corpus.digest(options), corpus.digest(options)]
    check('the digest has the versions of the packages', digests[0] == digests[1] != digests[2] == digests[3])
    whole = place / 'whole'
    (whole / 'photos').mkdir(parents=True)
    (whole / 'photos' / 'a.ppm').touch()
    states = []
    for rows in ([], ['photos/a.ppm'], ['photos/a.ppm', 'photos/b.ppm']):
        with open(whole / 'SOURCES.csv', 'w', newline='') as f:
            csv.writer(f).writerows([corpus.COLUMNS] + [[row] + [''] * (len(corpus.COLUMNS) - 1) for row in rows])
        states.append(corpus.is_complete(whole))
    check('a corpus counts only if its pictures are there', states == [True, True, False] and not corpus.is_complete(place / 'nowhere'), states)


def check_claim(corpus, place):
    """Pictures that are not the corpus's own are not touched: a folder that holds others is refused."""
    refused = []

    def claim(out, *given):
        try:
            corpus.claim(out, given)
            return True
        except corpus.Failure as failure:
            refused.append(str(failure))
            return False

    mine, new = place / 'mine', place / 'new'
    for folder in (mine / 'trip', mine / 'photos', place / 'photos'):
        folder.mkdir(parents=True)
        (folder / 'a.ppm').touch()
    check('a folder with other files is not taken for the corpus', not claim(mine), refused)
    check('nor one that holds what is to be read', not claim(place / 'all', place / 'all' / 'extra') and not claim(place / 'all', place / 'all'), refused)
    check('a new one is, also when the run that made it was cut off', claim(new, mine) and claim(new, mine), refused)
    for folder in ('photos', 'paintings', 'trip'):
        (new / folder).mkdir()
        for name in ('a.ppm', 'b.ppm', 'c.png'):
            (new / folder / name).touch()
    corpus.remove_others(new, [('photos/a.ppm',)])
    left = sorted(path.relative_to(new).as_posix() for path in new.glob('*/*'))
    check('only its own pictures are removed', left == ['paintings/c.png', 'photos/a.ppm', 'photos/c.png', 'trip/a.ppm', 'trip/b.ppm', 'trip/c.png'], left)


def main():
    tree = sys.argv[1]
    corpus = load(tree)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        check_broken(corpus, place)
        check_licence(corpus, place)
        check_forbidden(corpus, place)
        check_digest(corpus, place)
        check_claim(corpus, place / 'claim')
    done = subprocess.run([sys.executable, os.path.join(tree, 'models', 'fetch-corpus'), '--help'], capture_output=True, text=True, check=False)
    check('--help tells the options', done.returncode == 0 and '--exclude-like' in done.stdout, done.stderr)
    print('1..%d' % count)


main()
