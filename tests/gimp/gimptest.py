# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests with a real GIMP share: a private profile, one Scheme file per start, and TAP."""
import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:  # only some tests need it
    np = None

HERE = os.path.dirname(os.path.abspath(__file__))

# GIMP 3 may close the pipe of a plug-in that has already returned before that plug-in's last flush; nothing is lost.  (The reason is in the user's language.)
HARMLESS = re.compile(r'gimp_flush\(\): error: ')

# What a plug-in that loses something or is treated badly leaves on stderr.
COMPLAINTS = re.compile(r'GeglBuffers? leaked|stray image|Plug-in crashed|returned no return values'
                        r'|(gimp-diffusion|diffusion)[^\n]*(CRITICAL|WARNING|ERROR)'
                        r'|plug-in-diffusion[^\n]*(CRITICAL|WARNING)', re.IGNORECASE)


class Tap:
    """Test Anything Protocol: one line per case."""

    def __init__(self):
        self.count = self.failures = 0

    def check(self, name, problem):
        """problem: None or an empty text if all is well."""
        self.count += 1
        name = name.replace('#', 'no.')
        if problem:
            self.failures += 1
            print('not ok %d - %s' % (self.count, name))
            for line in str(problem).splitlines():
                print('# ' + line)
        else:
            print('ok %d - %s' % (self.count, name))
        sys.stdout.flush()

    def skip(self, name, why):
        self.count += 1
        print('ok %d - %s # SKIP %s' % (self.count, name, why))

    def end(self):
        print('1..%d' % self.count)
        return 1 if self.failures else 0


def skip_without_numpy():
    if not np:
        print('1..0 # SKIP python3-numpy is not installed')
        sys.exit(0)


def parse_arguments(description, *own):
    """own: the program's own options, as (name, keywords of add_argument)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--gimp', choices=['2', '3'], default='2', help='major version')
    parser.add_argument('--plugin', help='the program gimp-diffusion')
    parser.add_argument('--pixels', help='the helper plug-in test-pixels')
    parser.add_argument('--make-model', help='the helper program make-model')
    parser.add_argument('--build', help='the build folder, which has these three too', required=True)
    parser.add_argument('--locale', help='a folder with built catalogs')
    parser.add_argument('--output', help='where screenshots go')
    for name, keywords in own:
        parser.add_argument(name, **keywords)
    options = parser.parse_args()
    built = {'plugin': 'plugin/gimp-diffusion', 'pixels': 'tests/gimp/test-pixels', 'make_model': 'tests/gimp/make-model'}
    for name, place in built.items():
        if not getattr(options, name):
            setattr(options, name, os.path.join(os.path.abspath(options.build), place))
    return options


@contextlib.contextmanager
def small_model(options):
    """A small untrained one: it does for all that does not ask how good the result is."""
    with tempfile.TemporaryDirectory(prefix='gimp diffusion ') as folder:
        model = os.path.join(folder, 'default.safetensors')
        subprocess.run([options.make_model, model], check=True)
        yield model


@contextlib.contextmanager
def test_model(options):
    """The trained model of $DIFFUSION_MODELS, or else a small untrained one."""
    model = os.path.join(os.environ.get('DIFFUSION_MODELS', ''), 'default.safetensors')
    if os.path.exists(model):
        yield model
    else:
        with small_model(options) as model:
            yield model


def scheme_string(text):
    return '"%s"' % str(text).replace('\\', '\\\\').replace('"', '\\"')


def find_program(major, console):
    stem = 'gimp-console' if console else 'gimp'
    for version in {'2': ['-2.10', '-2.99', ''], '3': ['-3.2', '-3.0', '-3', '']}[major]:
        path = shutil.which(stem + version)
        if path:
            return path
    print('1..0 # SKIP there is no %s for GIMP %s here' % (stem, major))
    sys.exit(0)


def find_system_plugins(major):
    package = 'gimp-%s.0' % major
    try:
        lib = subprocess.run(['pkg-config', '--variable=gimplibdir', package], capture_output=True, text=True,
                             check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        lib = '/usr/lib/gimp/%s.0' % major
    return os.path.join(lib, 'plug-ins')


def read_log(path):
    """name -> (status, text) of each line; 'END' is there if the script came to its end."""
    result = {}
    try:
        with open(path, errors='replace') as f:
            for line in f:
                fields = line.rstrip('\n').split('\t')
                result[fields[0]] = (fields[1] if len(fields) > 1 else '', '\t'.join(fields[2:]).strip())
    except OSError:
        pass
    return result


class Gimp:
    """A profile of its own in a folder with a space in its name, and the few plug-ins that the tests need."""

    def __init__(self, options, stock=('script-fu',), plugins=True):
        self.major = options.gimp
        self.root = tempfile.mkdtemp(prefix='gimp diffusion ')
        self.plugins = os.path.join(self.root, 'plug ins')
        self.models = os.path.join(self.root, 'models')
        self.starts = 0
        self.output = ''
        os.makedirs(self.plugins)
        os.makedirs(self.models)
        if plugins:
            self.add_plugin('gimp-diffusion', options.plugin)
            self.add_plugin('test-pixels', options.pixels)
        system = find_system_plugins(self.major)
        for name in stock:
            os.symlink(os.path.join(system, name), os.path.join(self.plugins, name))
        with open(self.path('gimprc'), 'w') as f:
            # The dashes around a selection never stand still.
            f.write('(plug-in-path %s)\n(check-updates no)\n(default-view (show-selection no))\n'
                    % scheme_string(self.plugins))

    def add_plugin(self, name, program):
        folder = os.path.join(self.plugins, name)
        os.makedirs(folder)
        shutil.copy(program, os.path.join(folder, name))

    def path(self, name):
        return os.path.join(self.root, name)

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self, **extra):
        # meson's MALLOC_PERTURB_ fills all memory that GIMP's many processes ask for: a third of the time, and no test of ours.
        env = {key: value for key, value in os.environ.items()
               if key not in ('DISPLAY', 'WAYLAND_DISPLAY', 'LANGUAGE', 'XDG_DATA_HOME', 'XDG_CONFIG_HOME', 'MALLOC_PERTURB_')}
        env['GIMP%s_DIRECTORY' % self.major] = self.path('profile')
        env['DIFFUSION_MODELS'] = self.models
        env['LC_ALL'] = 'C.UTF-8'
        env['NO_AT_BRIDGE'] = '1'
        env['GSETTINGS_BACKEND'] = 'memory'  # GTK's window for files keeps its settings, which are the user's
        # Else babl keeps its conversions in a file, and makes each process that starts prepare all of them: a second each.
        env['BABL_INHIBIT_CACHE'] = '1'
        env['HOME'] = self.root
        env.update(extra)
        return env

    def command(self, script, console=True, fonts=False):
        """Writes the Scheme file and returns the command line that runs it."""
        self.starts += 1
        file = self.path('script-%d.scm' % self.starts)
        self.log = self.path('log-%d.txt' % self.starts)
        with open(file, 'w') as f:
            f.write('(define log-file %s)\n' % scheme_string(self.log))
            for part in ('compat-%s.scm' % self.major, 'lib.scm'):
                f.write('(load %s)\n' % scheme_string(os.path.join(HERE, part)))
            f.write(script)
            f.write('\n(end)\n')
        command = [find_program(self.major, console), '-n', '-s', '-g', self.path('gimprc')]
        if console:
            command += ['-i', '-d'] + ([] if fonts else ['-f'])
        if self.major == '3':
            command += ['--batch-interpreter=plug-in-script-fu-eval']
        command += ['-b', '(load %s)' % scheme_string(file)]
        return command + (['--quit'] if self.major == '3' else ['-b', '(gimp-quit 0)'])

    def run(self, script, timeout=900, fonts=False, **environment):
        """Runs GIMP without a display; the exit status means nothing in 2.10, so the log decides.  Returns the log."""
        command = self.command(script, fonts=fonts)
        try:
            done = subprocess.run(command, env=self.environment(**environment), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, cwd=self.root)
            self.output += done.stdout.decode(errors='replace')
        except subprocess.TimeoutExpired as late:
            self.output += (late.stdout or b'').decode(errors='replace') + '\n(killed after %d s)\n' % timeout
        return self.read_log()

    def read_log(self):
        return read_log(self.log)

    def complaints(self):
        lines = [line for line in self.output.splitlines() if COMPLAINTS.search(line) and not HARMLESS.search(line)]
        return '\n'.join(lines[:20])
