# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases that cover all pairs: few cases, among which any two values of two properties meet at least once."""
import itertools
import random

TRIES = 60


def _key(case, a, b):
    return a, case[a], b, case[b]


def cover(properties, possible, seed):
    """properties: name -> values; possible (case) tells whether a case makes sense.  Returns the cases, each a dictionary, and the pairs that no
    possible case was found for.  Greedy: each case starts from a pair that is missing, and its other properties take the values that cover most."""
    rng = random.Random(seed)
    names = list(properties)
    missing = {(a, x, b, y) for a, b in itertools.combinations(names, 2) for x in properties[a] for y in properties[b]}
    order = sorted(missing, key=repr)
    rng.shuffle(order)
    cases, impossible = [], []

    def gain(case, name, value):
        tried = dict(case, **{name: value})
        return sum(_key(tried, *((name, other) if names.index(name) < names.index(other) else (other, name))) in missing for other in case)

    def complete(pair):
        case = {pair[0]: pair[1], pair[2]: pair[3]}
        for name in rng.sample(names, len(names)):
            if name not in case:
                case[name] = max(rng.sample(properties[name], len(properties[name])), key=lambda value: gain(case, name, value))
        return case

    def fill_randomly(pair):
        case = {name: rng.choice(values) for name, values in properties.items()}
        case.update({pair[0]: pair[1], pair[2]: pair[3]})
        return case

    def covered(case):
        return {_key(case, a, b) for a, b in itertools.combinations(names, 2)}

    for pair in order:
        if pair not in missing:
            continue
        found = [case for case in (complete(pair) for _ in range(TRIES // 10)) if possible(case)]
        if not found:
            found = [case for case in (fill_randomly(pair) for _ in range(TRIES * 10)) if possible(case)]
        if not found:
            impossible.append(pair)
            missing.discard(pair)
            continue
        best = max(found, key=lambda case: len(covered(case) & missing))
        missing -= covered(best)
        cases.append({name: best[name] for name in names})
    return cases, impossible
