# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GIMP that goes through a script's stages while a driver looks on: each stage leaves a file, and waits for the driver where the script says so."""
import os
import shutil
import signal
import subprocess
import time

import gimptest
from gimptest import scheme_string

PATIENCE = 120


def wait_until(condition, patience=PATIENCE, pause=0.05):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    return None


class Live:
    """One GIMP without windows, the model (and the one for fills that lies beside it) in its folder, and its script so far."""

    console = True

    def __init__(self, options, tap, model, stock=('script-fu',)):
        self.tap, self.options = tap, options
        self.process = None
        self.gimp = gimptest.Gimp(options, stock=stock)
        shutil.copy(model, os.path.join(self.gimp.models, 'default.safetensors'))
        fills = os.path.join(os.path.dirname(model), 'inpaint.safetensors')
        if os.path.exists(fills):
            shutil.copy(fills, self.gimp.models)
        self.script = ['''
(define (stage name thunk)
  (set! last-error "")
  (let* ((result (catch 'failed (thunk))) (port (open-output-file (string-append %s name))))
    (display (if (eq? result 'failed) (list "ERROR" last-error) (list "OK" result)) port)
    (newline port)
    (close-output-port port)))''' % scheme_string(self.gimp.path('stage-'))]

    def file(self, name):
        return self.gimp.path(name)

    def read(self, name):
        with open(self.file(name), 'rb') as f:
            return f.read()

    def add(self, text):
        self.script.append(text)

    def add_wait(self, name):
        self.add('(wait-for %s)' % scheme_string(self.file('go-' + name)))

    def go(self, name):
        with open(self.file('go-' + name), 'w'):
            pass

    def start(self, **environment):
        command = self.gimp.command('\n'.join(self.script), console=self.console)
        if self.gimp.major == '3':
            command.remove('--quit')
        else:
            command = command[:-2]
        self.out = open(self.file('output.txt'), 'wb')
        self.process = subprocess.Popen(command, env=self.gimp.environment(**environment), stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=subprocess.STDOUT, cwd=self.gimp.root, start_new_session=True)

    def result(self, stage, patience=PATIENCE, pause=0.05):
        """The text that the stage left, or None."""
        name = 'stage-' + stage

        def whole():
            """The file when its last line is there: GIMP writes it in pieces."""
            data = self.read(name) if os.path.exists(self.file(name)) else b''
            return data if data.endswith(b'\n') else None

        data = wait_until(whole, patience, pause)
        return data[:-1].decode(errors='replace') if data else None

    def stop(self):
        """Ends GIMP without asking about unsaved images."""
        if not self.process:
            return
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(15)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.out.close()
        self.gimp.output += self.read('output.txt').decode(errors='replace')
