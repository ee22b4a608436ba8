#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""catalogs.py TREE: whether each catalog that is installed has every text of the interface, with the same formats; and whether translators are told
what each text is for."""
import os
import subprocess
import sys
import tempfile

KEYWORDS = ['-k_', '-kN_', '-kC_:1c,2', '-kNC_:1c,2']


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr or 'it failed'


def without_context(template):
    """Texts that have neither a context nor a comment that says what they are."""
    with open(template, encoding='utf-8') as f:
        entries = f.read().split('\n\n')[1:]
    return '\n'.join(entry for entry in entries if '\nmsgctxt ' not in '\n' + entry and '#. Translators: ' not in entry)


def main():
    tree = sys.argv[1]
    with open(os.path.join(tree, 'po', 'LINGUAS'), encoding='utf-8') as f:
        languages = f.read().split()
    with open(os.path.join(tree, 'po', 'POTFILES.in'), encoding='utf-8') as f:
        sources = f.read().split()
    listed = set(sources)
    missing = [name for folder in ('plugin', 'ui') for name in sorted(os.listdir(os.path.join(tree, folder)))
               if name.endswith('.c') and folder + '/' + name not in listed
               and 'glib/gi18n.h' in open(os.path.join(tree, folder, name), encoding='utf-8').read()]
    cases = [('every file with texts is looked through', ', '.join(missing))]
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
                          run('msgfmt', '--check', '--check-format', '-o', os.devnull, catalog)))
    for number, (name, wrong) in enumerate(cases, 1):
        print('%sok %d - %s' % ('not ' if wrong else '', number, name))
        for line in (wrong or '').splitlines()[:20]:
            print('# ' + line)
    print('1..%d' % len(cases))
    return 1 if any(wrong for _, wrong in cases) else 0


if __name__ == '__main__':
    sys.exit(main())
