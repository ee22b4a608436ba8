#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""denoise-in-gimp.py 2|3 IN BEFORE AFTER: sends a picture through the user's own GIMP, without a window, and the installed filter, with the noise
estimated; saves it before and after, and prints what the filter found and how long it took."""
import os
import subprocess
import sys
import tempfile

import gimptest
from gimptest import HERE, scheme_string

SCRIPT = '''
(define (now) (let ((time (gettimeofday))) (+ (car time) (/ (cadr time) 1000000.0))))
(let* ((image (load-image {source})) (drawable (active-drawable image)))
  (save-image image {before})
  (let ((start (now)))
    (attempt "denoise" (lambda () (denoise RUN-NONINTERACTIVE image drawable 0 1 1 0 "")))
    (log "seconds" "OK" (- (now) start)))
  (save-image image {after})
  (gimp-image-delete image))
'''


def make_command(major, script, folder, log):
    file = os.path.join(folder, 'script.scm')
    with open(file, 'w', encoding='utf-8') as out:
        out.write('(define log-file %s)\n' % scheme_string(log))
        for part in ('compat-%s.scm' % major, 'lib.scm'):
            out.write('(load %s)\n' % scheme_string(os.path.join(HERE, part)))
        out.write(script + '(end)\n')
    command = [gimptest.find_program(major, True), '-n', '-s', '-i', '-d', '-f']
    if major == '3':
        command += ['--quit', '--batch-interpreter=plug-in-script-fu-eval']
    command += ['-b', '(load %s)' % scheme_string(file)]
    return command + ([] if major == '3' else ['-b', '(gimp-quit 0)'])


def main():
    major, source, before, after = sys.argv[1], *(os.path.abspath(path) for path in sys.argv[2:5])
    for path in (before, after):
        if os.path.exists(path):
            os.remove(path)
    with tempfile.TemporaryDirectory(prefix='gimp diffusion ') as folder:
        log = os.path.join(folder, 'log.txt')
        names = {'source': source, 'before': before, 'after': after}
        script = SCRIPT.format(**{name: scheme_string(path) for name, path in names.items()})
        done = subprocess.run(make_command(major, script, folder, log), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=900, check=False, env={key: value for key, value in os.environ.items() if key != 'DISPLAY'})
        result = gimptest.read_log(log)
    status, text = result.get('denoise', ('', ''))
    if 'END' not in result or status != 'OK' or not os.path.exists(after):
        print(done.stdout.decode(errors='replace'))
        raise SystemExit('GIMP did not denoise the picture: ' + (text or 'see its messages above.'))
    print('noise: %.1f/255 (estimated); time: %.1f s' % (float(text), float(result['seconds'][1])))


if __name__ == '__main__':
    main()
