#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""catalogs.py TREE: whether each catalog that is installed has every text of the interface, and every sentence of the engine that is shown there, with the
same formats; and whether translators are told what each text is for."""
import os
import re
import subprocess
import sys
import tempfile

KEYWORDS = ['-k_', '-kN_', '-kC_:1c,2', '-kNC_:1c,2']
# Parts of the engine that the plug-in uses.
SHOWN = ['engine/' + name for name in ('compute', 'core', 'net', 'process', 'task')]
UNMARKED = re.compile(r'g_set_error(?:_literal)? \([^;"]*?DIFFUSION_ERROR_(?:MODEL|MEMORY),\s*(?:/\*[^"]*?\*/\s*)?(?!/\*|C_ \(|\s)')


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr or 'it failed'


def without_context(template):
    """Texts that have neither a context nor a comment that says what they are."""
    with open(template, encoding='utf-8') as f:
        entries = f.read().split('\n\n')[1:]
    return '\n'.join(entry for entry in entries if '\nmsgctxt ' not in '\n' + entry and '#. Translators: ' not in entry)


def read(tree, name):
    with open(os.path.join(tree, name), encoding='utf-8') as f:
        return f.read()


def find_sources(tree, *folders):
    return sorted(os.path.relpath(os.path.join(folder, name), tree) for top in folders for folder, _, names in os.walk(os.path.join(tree, top))
                  for name in names if name.endswith('.c'))


def find_unmarked(tree):
    """Where the engine says something about a file or memory that nobody can translate."""
    places = ((name, text, match) for name in find_sources(tree, *SHOWN) for text in [read(tree, name)] for match in UNMARKED.finditer(text))
    return '\n'.join('%s:%d' % (name, text[:match.start()].count('\n') + 1) for name, text, match in places)


def check_formats(folder, catalog, template):
    """By the template: a catalog may not say what is a format.  Merging calls those fuzzy that do not fit."""
    merged = os.path.join(folder, 'merged.po')
    return run('msgmerge', '--quiet', '--no-fuzzy-matching', '-o', merged, catalog, template) \
        or run('msgfmt', '--check', '--check-format', '--use-fuzzy', '-o', os.devnull, merged)


def main():
    tree = sys.argv[1]
    with open(os.path.join(tree, 'po', 'LINGUAS'), encoding='utf-8') as f:
        languages = f.read().split()
    with open(os.path.join(tree, 'po', 'POTFILES.in'), encoding='utf-8') as f:
        sources = f.read().split()
    listed = set(sources)
    missing = [name for name in find_sources(tree, 'engine', 'plugin', 'ui') if name not in listed and '#include <glib/gi18n' in read(tree, name)]
    cases = [('every file with texts is looked through', ', '.join(missing)),
             ('what the engine says about files and memory can be translated', find_unmarked(tree))]
    with tempfile.TemporaryDirectory() as folder:
        template = os.path.join(folder, 'all.pot')
        problem = run('xgettext', '--from-code=UTF-8', *KEYWORDS, '--add-comments=Translators:', '-D', tree, '-o', template, *sources)
        cases.append(('the texts are found', problem))
        if not problem:
            cases.append(('every text has a context or a comment', without_context(template)))
        for language in languages:
            catalog = os.path.join(tree, 'po', language + '.po')
            cases.append((language + ' is complete', problem or run('msgcmp', catalog, template)))
            cases.append((language + ' has the same formats',
                          problem or check_formats(folder, catalog, template)))
    for number, (name, wrong) in enumerate(cases, 1):
        print('%sok %d - %s' % ('not ' if wrong else '', number, name))
        for line in (wrong or '').splitlines()[:20]:
            print('# ' + line)
    print('1..%d' % len(cases))
    return 1 if any(wrong for _, wrong in cases) else 0


if __name__ == '__main__':
    sys.exit(main())
