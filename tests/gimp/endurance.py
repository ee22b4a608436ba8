#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plug-in has to stand in a real GIMP, by parts:

    kills    the plug-in is killed at random moments of a run: the image is unchanged, GIMP lives, the next run works; and while it hands its result
             over, some of which GIMP has done by then: GIMP lives, the next run works
    orphans  GIMP itself is killed at random moments of a run: the plug-in ends by itself, and not by a crash
    cancels  the dialog's Cancel is pressed at random moments, from its opening to the end of the run: how long until the procedure has returned
    runs     many runs in one GIMP: it does not grow
    trace    the system calls of a run, in a dialog and without: no network, nothing written but where GIMP and the plug-in keep their files
    full     GIMP's swap folder takes nothing: a result that is larger than what GEGL keeps in memory comes into the layer whole
    large    a layer of 10000 x 10000 pixels is denoised: the plug-in's peak memory

    tests/gimp/endurance.py --build build [--gimp 3] [--parts kills,runs] [--count N]

Without --parts a short form of the quick ones; --parts all is everything at full length (an hour or more)."""
import contextlib
import math
import os
import random
import re
import shlex
import shutil
import signal
import sys
import time

import gimptest
import pictures
import window
from cases import inpaint_call, regenerate_call
from gimptest import np, scheme_string
from live import Live, wait_until

LONGEST_WAIT = 0.5  # seconds
MOST_MEMORY = 1e9
MOST_GROWTH = 8e6  # bytes: what malloc keeps of one run or another
KILLS_LATE = 0.3   # the share of kills that aim at the end of a run, where the layer is written
HANDING = b'run: hands its result over'  # as the plug-in logs it
LONGEST_HANDING = 0.02  # seconds, about
LONGEST_ORPHAN = 5  # seconds
LOST = 8           # seconds after which a press is taken for lost
PRESSES_EARLY = 0.25  # the share of cancels that come before OK


# ---- processes ------------------------------------------------------------------------------------------------------

def read_proc(pid, name):
    with contextlib.suppress(OSError):
        with open('/proc/%d/%s' % (pid, name), 'rb') as f:
            return f.read()
    return b''


def find_plugin(gimp):
    """The process in which a filter of this GIMP runs, or None."""
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            words = read_proc(int(entry), 'cmdline').split(b'\0')
            if words[0].startswith(os.fsencode(gimp.plugins)) and words[0].endswith(b'/gimp-diffusion') and b'-run' in words:
                return int(entry)
    return None


def memory(pid, key):
    """A line of /proc/PID/status in bytes; None if the process is gone."""
    found = re.search(key.encode() + rb':\s*(\d+) kB', read_proc(pid, 'status'))
    return int(found.group(1)) * 1024 if found else None


# ---- scripts --------------------------------------------------------------------------------------------------------

CALLS = {'denoise': '(denoise %s image %s 20 1 1 0 "")',
         'inpaint': inpaint_call('%s', '%s', steps=4),
         'regenerate': regenerate_call('%s', '%s', steps=4)}
SELECTION = '(gimp-image-select-ellipse image CHANNEL-OP-REPLACE %d %d %d %d) (gimp-selection-feather image 8)'


def noise_bytes(width, height, layout):
    rng = np.random.default_rng(3)
    x, y = np.arange(width, dtype='f4'), np.arange(height, dtype='f4')[:, None]
    n = pictures.COMPONENTS[layout]
    data = np.empty((height, width, n), 'u1')
    for c in range(n):
        rows = 90 + 60 * np.sin(x / (17 + c)) * np.cos(y / 23) + 20 * ((x + 2 * y) % 61 > 30)
        for start in range(0, height, 1000):
            part = rows[start:start + 1000]
            data[start:start + 1000, :, c] = np.clip(part + rng.standard_normal(part.shape, 'f4') * 20, 0, 255)
    return data.tobytes()


def define_image(live, width, height, layout='RGB', selection=''):
    with open(live.file('in.raw'), 'wb') as f:
        f.write(noise_bytes(width, height, layout))
    live.add('''
(define image (image-new %d %d RGB 0 0))
(define layer (layer-add image %d %d %s-IMAGE 0 0))
(pixels layer %s "" "")
%s''' % (width, height, width, height, layout, scheme_string(live.file('in.raw')), selection))


def dump(live, name, drawable='layer'):
    live.add('(pixels %s "" %s %s)' % (drawable, scheme_string(live.file('out-%s.raw' % name)), scheme_string(live.file('mask-%s.raw' % name))))


def read_dump(live, name):
    """Pixels and selection; the files are removed."""
    both = []
    for stem in ('out', 'mask'):
        file = '%s-%s.raw' % (stem, name)
        both.append(live.read(file))
        os.remove(live.file(file))
    return tuple(both)


def put_between(live):
    """Makes room for a script in the plug-in's place; where the plug-in itself is then."""
    folder = os.path.join(live.gimp.plugins, 'gimp-diffusion')
    real = os.path.join(folder, 'real')
    os.mkdir(real)  # GIMP looks for programs only at the first level
    os.rename(os.path.join(folder, 'gimp-diffusion'), os.path.join(real, 'gimp-diffusion'))
    return os.path.join(real, 'gimp-diffusion')


def put_script(live, text):
    program = os.path.join(live.gimp.plugins, 'gimp-diffusion', 'gimp-diffusion')
    with open(program, 'w') as f:
        f.write('#!/bin/sh\n' + text + '\n')
    os.chmod(program, 0o755)


# ---- kills ----------------------------------------------------------------------------------------------------------

KILL_SIZE = (1600, 1200)


def script_kills(live, count, handing):
    width, height = KILL_SIZE
    define = lambda: define_image(live, width, height, 'RGBA', SELECTION % (width // 4, height // 4, 200, 150))
    define()
    dump(live, 'start')
    live.add('(stage "start" (lambda () (describe image)))')
    for i in range(count):
        call = CALLS[sorted(CALLS)[i % len(CALLS)]]
        # What a kill leaves of the image is looked at; then it is made anew by a whole run on a copy.
        live.add_wait('kill-%d' % i)
        live.add('(stage "kill-%d" (lambda () %s))' % (i, call % ('RUN-NONINTERACTIVE', 'layer')))
        dump(live, 'kill-%d' % i)
        live.add('(stage "left-%d" (lambda () (list (describe image) (count-channels image))))' % i)
        if handing:
            live.add('(gimp-image-delete image)')
            define()
        live.add('(let* ((original image) (image (car (gimp-image-duplicate original))) (layer (car (layers image))))')
        live.add('(stage "again-%d" (lambda () %s))' % (i, call % ('RUN-NONINTERACTIVE', 'layer')))
        dump(live, 'again-%d' % i)
        live.add('(gimp-image-delete image))')
        live.add('(pixels layer %s "" "")' % scheme_string(live.file('in.raw')))
        live.add('(stage "done-%d" (lambda () #t))' % i)
    live.add('(end)')


def time_of_run(live, stage):
    """Waits for the filter's process and until it has gone; how long that took."""
    pid = wait_until(lambda: find_plugin(live.gimp), pause=0.002)
    start = time.monotonic()
    live.result(stage, pause=0.002)
    return time.monotonic() - start if pid else 0


def kill_at_work(live, pid, handed):
    """Not when it hands its result over: what GIMP has been told by then it does, whatever becomes of the plug-in.  That one goes on to its end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: read_proc(pid, 'stat').rpartition(b')')[2].split()[:1] in ([b'T'], [b'Z'], []), pause=0.001)
        os.kill(pid, signal.SIGKILL if live.read('output.txt').count(HANDING) == handed else signal.SIGCONT)


def kill_when_handing(live, pid, handed, rng):
    wait_until(lambda: live.read('output.txt').count(HANDING) > handed, pause=0.001)
    time.sleep(rng.random() * LONGEST_HANDING)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def check_kills(options, tap, model, count, rng, handing=False):
    """The first run of each filter is not killed: it tells how long one takes."""
    live = Live(options, tap, model)
    filters = len(CALLS)
    script_kills(live, count + filters, handing)
    live.start(G_MESSAGES_DEBUG='diffusion')
    seconds, late, problems, expected = {}, 0, [], {}
    try:
        if not live.result('start'):
            tap.check('kills', 'GIMP did not come to the first run: ' + live.read('output.txt').decode(errors='replace')[-800:])
            return
        start = read_dump(live, 'start')
        for i in range(count + filters):
            handed = live.read('output.txt').count(HANDING)
            live.go('kill-%d' % i)
            if i < filters:
                seconds[i] = time_of_run(live, 'kill-%d' % i)
            else:
                share = rng.uniform(0.8, 1) if rng.random() < KILLS_LATE else rng.random()
                pid = wait_until(lambda: find_plugin(live.gimp), pause=0.002)
                if handing:
                    kill_when_handing(live, pid, handed, rng)
                else:
                    time.sleep(seconds[i % filters] * share)
                    kill_at_work(live, pid, handed)
            result = live.result('kill-%d' % i)
            left = live.result('left-%d' % i)
            again = live.result('done-%d' % i) and live.result('again-%d' % i)
            if not again:
                problems.append('run %d: GIMP does not go on' % i)
                break
            after, next_run = read_dump(live, 'kill-%d' % i), read_dump(live, 'again-%d' % i)
            if i < filters:
                expected[i] = after[0]
            finished = result.startswith('(OK')
            late += finished and i >= filters
            if handing:
                problem = None
            elif finished:
                problem = pictures.compare(after[0], expected[i % filters]) if i >= filters else None
            else:
                problem = None if after == start else 'the pixels are others' if after[0] != start[0] else 'the selection is another'
            if left != '(OK (((layer 1 0)) 0))' and not handing:
                problem = problem or 'the image is %s' % left
            if not again.startswith('(OK') or pictures.compare(next_run[0], expected[i % filters]) and (handing or not finished):
                problem = problem or 'the next run: %s' % again
            if problem:
                problems.append('run %d (%s, %.3f of %.2f s): %s' % (i, result[:60], share if i >= filters else 1, seconds[i % filters], problem))
    finally:
        alive = live.process.poll() is None
        live.stop()
        live.gimp.remove()
    print('# %d kills in runs of %s s; %d came after the end' % (count, ', '.join('%.2f' % value for value in seconds.values()), late))
    name = '%d kills%s' % (count, ' while the result is handed over' if handing else '')
    tap.check(name + (': the next run works' if handing else ': the image is unchanged or done, and the next run works'), '\n'.join(problems))
    tap.check('GIMP lives after ' + name, None if alive else 'it does not')


# ---- a GIMP that is gone ---------------------------------------------------------------------------------------------

def note_ends(live):
    """Puts a script between GIMP and the plug-in that keeps how its processes end."""
    real = put_between(live)
    put_script(live, '%s "$@"\necho $? >>%s' % (shlex.quote(real), shlex.quote(live.file('ends'))))


def check_orphans(options, tap, model, count, rng):
    problems = []
    for i in range(count):
        name = sorted(CALLS)[i % len(CALLS)]
        live = Live(options, tap, model)
        note_ends(live)
        define_image(live, *KILL_SIZE, 'RGB', SELECTION % (400, 300, 400, 300))
        live.add('(stage "start" (lambda () #t))')
        live.add('(stage "run" (lambda () %s))' % (CALLS[name] % ('RUN-NONINTERACTIVE', 'layer')))
        live.start()
        try:
            live.result('start')
            before = live.read('ends').count(b'\n')
            pid = wait_until(lambda: find_plugin(live.gimp), pause=0.002)
            time.sleep(rng.random() * 0.5)
            live.process.kill()
            live.process.wait()
            ended = wait_until(lambda: live.read('ends').count(b'\n') > before, LONGEST_ORPHAN)
            status = live.read('ends').split()[-1].decode() if ended else None
            # Before it has reached GIMP's memory, libgimp itself gives up by an abort.
            if b'LibGimp-ERROR' in live.read('output.txt'):
                continue
            if not pid or not status or int(status) >= 128:
                problems.append('%s: %s' % (name, 'no process' if not pid else 'it goes on for %d s' % LONGEST_ORPHAN if not status else
                                            'it ended by signal %d' % (int(status) - 128)))
        finally:
            live.stop()
            live.gimp.remove()
    tap.check('the plug-in ends by itself when GIMP is killed, %d times' % count, '\n'.join(problems))


# ---- cancels --------------------------------------------------------------------------------------------------------

CANCEL_SIZE = (500, 400)
# Title, call, and the number of steps with which a run takes some seconds.
CANCELS = {'denoise': ('Denoise with Diffusion', '(denoise RUN-INTERACTIVE image layer 0 1 1 0 "")', '4'),
           'inpaint': ('Inpaint Selection with Diffusion', inpaint_call('RUN-INTERACTIVE', steps=16), '16'),
           'regenerate': ('Regenerate with Diffusion', regenerate_call('RUN-INTERACTIVE', steps=20), '4')}


def press_cancel(session, dialog, stage, key):
    """Presses a key that cancels; the seconds until the procedure has returned.  (The stage's file is written then.)"""
    session.screen.tool('windowfocus', '--sync', dialog)
    start = time.time()
    session.screen.tool('key', '--clearmodifiers', key)
    if not session.result(stage, LOST, pause=0.005):
        session.screen.keys(dialog, key)
        return None
    return os.stat(session.file('stage-' + stage)).st_mtime - start


def hide_image_window(session):
    """GIMP's own window, which has menus by the buttons' mnemonics, takes the focus now and then, as there is no window
    manager."""
    session.screen.tool('windowunmap', '--sync', wait_until(lambda: session.screen.find('– GIMP$|GNU Image Manipulation')))


def start_run(session, title, steps):
    """The dialog, after OK was pressed."""
    dialog = session.dialog(title)
    session.screen.enter(dialog, 'alt+e', steps)
    session.screen.keys(dialog, 'alt+o')
    return dialog


def check_cancels(options, tap, model, name, count, rng):
    title, call, steps = CANCELS[name]
    session = window.Session(options, tap, model)
    width, height = CANCEL_SIZE
    define_image(session, width, height, 'RGB', SELECTION % (width // 4, height // 4, 140, 110) if name == 'inpaint' else '')
    session.add('(gimp-display-new image)')
    dump(session, 'start')
    session.add('(stage "start" (lambda () #t))')
    session.add('(stage "whole" (lambda () (let* ((image (car (gimp-image-duplicate image))) (layer (car (layers image)))) %s)))' % call)
    # Some presses come too late, and are made up for.
    tries = count + count // 3 + 3
    for i in range(tries):
        session.add('(pixels layer %s "" "")' % scheme_string(session.file('in.raw')))
        session.add('(stage "run-%d" (lambda () %s))' % (i, call))
        dump(session, str(i))
        session.add('(stage "dumped-%d" (lambda () #t))' % i)
    waits, problems = [], []
    session.start(LANGUAGE='en')
    try:
        session.result('start')
        start = read_dump(session, 'start')
        hide_image_window(session)
        session.screen.settle(session.dialog(title), 0.2)
        start_run(session, title, steps)
        begin = time.monotonic()
        session.result('whole')
        whole = time.monotonic() - begin
        for i in range(tries):
            early = rng.random() < PRESSES_EARLY
            dialog = session.dialog(title)
            session.screen.settle(dialog, 0.2)  # before it is drawn no key goes to it
            if not early:
                start_run(session, title, steps)
            time.sleep(rng.random() * (2 if early else whole))
            late = os.path.exists(session.file('stage-run-%d' % i))
            wait = press_cancel(session, dialog, 'run-%d' % i, 'Escape' if early else 'alt+c')
            if wait is None:
                problems.append('press %d (%s): lost, or of no effect for %d s' % (i, 'early' if early else 'running', LOST))
            if not session.result('dumped-%d' % i):
                problems.append('press %d: the procedure does not return' % i)
                break
            unchanged = read_dump(session, str(i)) == start
            if late or wait is None or wait < 0 or not unchanged and 'OK' in session.result('run-%d' % i):
                continue
            waits.append((wait, 'early' if early else 'running'))
            if not unchanged:
                problems.append('press %d: something was changed' % i)
            if len(waits) == count:
                break
    finally:
        session.end()
    waits.sort()
    if waits:
        print('# %s: %d cancels in runs of %.1f s; half of them returned within %.3f s, the slowest after %s s' % (
            name, len(waits), whole, waits[len(waits) // 2][0], ', '.join('%.3f (%s)' % each for each in waits[-3:])))
    tap.check('%s: %d cancels leave the image untouched' % (name, count), '\n'.join(problems) if problems else None if len(waits) == count else
              'only %d came in time' % len(waits))
    tap.check('%s: none of %d cancels takes longer than %g s' % (name, count, LONGEST_WAIT),
              None if waits and waits[-1][0] < LONGEST_WAIT else 'the slowest took %s' % (waits[-1:],))


# ---- many runs ------------------------------------------------------------------------------------------------------

def count_files(pid, most):
    """The files that a process has open, once these are no more than `most`, or after 5 s: what ends with a run is closed a moment after it."""
    deadline = time.monotonic() + 5
    while True:
        files = len(os.listdir('/proc/%d/fd' % pid))
        if files <= most or time.monotonic() > deadline:
            return files
        time.sleep(0.05)


def check_runs(options, tap, model, count):
    """Memory and open files of GIMP itself, after a tenth of the runs and after all."""
    live = Live(options, tap, model)
    define_image(live, 300, 240, 'RGB', SELECTION % (60, 60, 120, 90))
    # What GIMP keeps to undo is no growth.
    live.add('(gimp-image-undo-disable image)')
    for i in range(count):
        call = CALLS[sorted(CALLS)[i % len(CALLS)]]
        live.add('(stage "run-%d" (lambda () %s))' % (i, call % ('RUN-NONINTERACTIVE', 'layer')))
        live.add_wait('next-%d' % i)
    figures, failed = [], 0
    live.start()
    try:
        for i in range(count):
            result = live.result('run-%d' % i, pause=0.01)
            if not result:
                tap.check('%d runs in one GIMP' % count, 'run %d does not end' % i)
                return
            failed += not result.startswith('(OK')
            most = figures[count // 10][1] if i == count - 1 else math.inf
            figures.append((memory(live.process.pid, 'VmRSS'), count_files(live.process.pid, most)))
            live.go('next-%d' % i)
    finally:
        live.stop()
        live.gimp.remove()
    (before, files_before), (after, files_after) = figures[count // 10], figures[-1]
    print('# GIMP after run %d: %.1f MB, %d files open; after run %d: %.1f MB, %d' % (
        count // 10 + 1, before / 1e6, files_before, count, after / 1e6, files_after))
    tap.check('%d runs in one GIMP work' % count, failed and '%d failed' % failed)
    tap.check('GIMP does not grow', None if after - before < MOST_GROWTH and files_after <= files_before else 'by %.1f MB and %d files' % (
        (after - before) / 1e6, files_after - files_before))


# ---- system calls ---------------------------------------------------------------------------------------------------

WRITING = re.compile(r'O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND')
TRACED = 'trace=open,openat,openat2,creat,socket,connect,bind,listen,sendto,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,' \
         'unlink,unlinkat,truncate,ftruncate,chmod,fchmod,chown,mknod,mknodat,execve'


def wrap_plugin(live):
    """Puts strace between GIMP and the plug-in: each of its processes leaves a file."""
    os.mkdir(live.file('traces'))
    real = put_between(live)
    put_script(live, 'exec strace -f -qq -y -e %s -e signal=none -o %s/trace.$$ %s "$@"' % (TRACED, shlex.quote(live.file('traces')), shlex.quote(real)))


def read_calls(live):
    folder = live.file('traces')
    lines = []
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), errors='replace') as f:
            lines += [line.split(None, 1)[1].strip() for line in f]
    return lines


def judge_calls(lines, allowed):
    """What of the calls is no business of the plug-in's."""
    problems = []
    for line in lines:
        call = line.split('(', 1)[0]
        paths = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
        if ' = -1 ' in line or 'resumed>' in call:
            continue
        if call == 'socket':
            if not re.match(r'socket\(AF_(UNIX|LOCAL)', line):
                problems.append(line)
        elif call == 'connect':
            # The display; and the desktop's own services that GTK asks for.
            if not re.search(r'AF_UNIX.*(X11-unix|/bus|dbus|nscd)', line):
                problems.append(line)
        elif call in ('bind', 'listen', 'sendto'):
            problems.append(line)
        elif call.startswith('open') or call == 'creat':
            if (call == 'creat' or WRITING.search(line)) and not any(paths[0].startswith(place) for place in allowed):
                problems.append(line)
        elif call == 'execve':
            if not paths[0].endswith('/gimp-diffusion'):
                problems.append(line)
        elif call != 'ftruncate' and not all(any(path.startswith(place) for place in allowed) for path in paths):
            problems.append(line)
    return problems


def check_trace(options, tap, model, interactive):
    if not shutil.which('strace'):
        tap.skip('system calls', 'strace is not installed')
        return
    live = window.Session(options, tap, model) if interactive else Live(options, tap, model)
    wrap_plugin(live)
    define_image(live, 400, 300, 'RGB', SELECTION % (80, 80, 160, 90))
    if interactive:
        live.add('(gimp-display-new image)')
    calls = {name: CANCELS[name][1] if interactive else CALLS[name] % ('RUN-NONINTERACTIVE', 'layer') for name in CALLS}
    for name, call in calls.items():
        live.add('(stage "%s" (lambda () %s))' % (name, call))
    live.start(LANGUAGE='en')
    try:
        for name in calls:
            if interactive:
                dialog = live.dialog(CANCELS[name][0])
                live.screen.settle(dialog)
                live.screen.keys(dialog, 'alt+o')
            result = live.result(name)
            tap.check('%s, traced%s' % (name, ', in a window' if interactive else ''), None if result and result.startswith('(OK') else str(result))
    finally:
        live.stop()
    lines = read_calls(live)
    # GIMP's profile, the user's cache and settings; and what is no file.
    allowed = [live.gimp.path(name) for name in ('profile', '.cache', '.config', '.local')] + ['/dev/null', '/dev/tty', '/dev/shm/', '/proc/self/']
    problems = judge_calls(lines, allowed)
    print('# %d calls%s; written to: %s' % (len(lines), ' in a window' if interactive else '', sorted({
        re.search(r'"([^"]*)"', line).group(1) for line in lines if line.startswith('open') and WRITING.search(line) and ' = -1 ' not in line})))
    where = ' in a window' if interactive else ''
    tap.check('the trace has the runs' + where, None if sum('execve(' in line for line in lines) >= 3 else 'it has not')
    tap.check('no network, and nothing written elsewhere' + where, '\n'.join(problems[:20]))
    if interactive:
        live.screen.close()
    live.gimp.remove()


# ---- a full disk ----------------------------------------------------------------------------------------------------

FULL_SIZE = (2300, 2000)  # in floats with alpha more than the plug-in lets GEGL keep in memory
NO_FILES = "trap '' XFSZ\nulimit -f 8\nexec %s \"$@\""  # writing more than some kilobytes fails, as it does on a full disk


def check_full(options, tap, model):
    """Regenerating at strength 0 changes nothing: whatever differs afterwards was lost on the way."""
    width, height = FULL_SIZE
    live = Live(options, tap, model)
    put_script(live, NO_FILES % shlex.quote(put_between(live)))
    before = (np.frombuffer(noise_bytes(width, height, 'RGBA'), 'u1') / np.float32(255)).astype('f4')
    before[3::4] = 1
    before.tofile(live.file('in.raw'))
    live.add('''
(define image (image-new %d %d RGB 0 4))
(define layer (layer-add image %d %d RGBA-IMAGE 0 0))
(pixels layer %s "" "")''' % (2 * FULL_SIZE + (scheme_string(live.file('in.raw')),)))
    cases = (('place', 0, 'layer'), ('layer', 1, '(car (layers image))'))
    for name, output, drawable in cases:
        live.add('(stage "%s" (lambda () %s))' % (name, regenerate_call(strength=0, steps=1, output=output)))
        dump(live, name, drawable)
    live.add('(stage "dumped" (lambda () #t))')
    live.start()
    try:
        results = [live.result(name) for name, _, _ in cases]
        live.result('dumped')
        for (name, _, _), result in zip(cases, results):
            after = np.frombuffer(read_dump(live, name)[0], 'f4')
            lost = int((after != before).reshape(-1, 4).any(axis=1).sum()) if after.size == before.size else before.size
            tap.check('the swap folder is full, result in %s' % name, None if result and result.startswith('(OK') and not lost else
                      '%s; %d of %d pixels are not what they were' % (result, lost, width * height))
    except OSError as error:
        tap.check('the swap folder is full', '%s: %s' % (error, results))
    finally:
        live.stop()
    live.gimp.remove()


# ---- a large layer --------------------------------------------------------------------------------------------------

def check_large(options, tap, model, width=10000, height=10000):
    """The noise is estimated, and all of the layer denoised."""
    live = Live(options, tap, model)
    define_image(live, width, height, 'RGB')
    live.add('(stage "ready" (lambda () #t))')
    live.add('(stage "large" (lambda () %s))' % '(denoise RUN-NONINTERACTIVE image layer 0 1 1 0 "")')
    dump(live, 'large')
    live.add('(stage "dumped" (lambda () #t))')
    peak = gimp_peak = 0
    live.start()
    begin = time.monotonic()
    try:
        live.result('ready', 600)
        while live.process.poll() is None and not os.path.exists(live.file('stage-large')):
            pid = find_plugin(live.gimp)
            if pid:
                peak = max(peak, memory(pid, 'VmHWM') or 0)
            gimp_peak = memory(live.process.pid, 'VmHWM') or gimp_peak
            time.sleep(0.02)
        seconds = time.monotonic() - begin
        result = live.result('large')
        live.result('dumped', 600)
        after = np.frombuffer(live.read('out-large.raw'), 'u1').reshape(height, width, 3)
    finally:
        live.stop()
    before = np.fromfile(live.file('in.raw'), 'u1').reshape(height, width, 3)
    live.gimp.remove()
    print('# %d megapixels in %.0f s: the plug-in took %.0f MB at the most, GIMP %.0f MB; %s' % (
        width * height / 1e6, seconds, peak / 1e6, gimp_peak / 1e6, result))
    rows = [(start, float((before[start:start + 500] != after[start:start + 500]).mean())) for start in range(0, height, 500)]
    tap.check('%d x %d pixels are denoised' % (width, height), None if result and result.startswith('(OK') and min(share for _, share in rows) > 0.5 else
              '%s; values changed: %s' % (result, rows))
    tap.check('the plug-in takes less than %g GB' % (MOST_MEMORY / 1e9), None if 0 < peak < MOST_MEMORY else '%.0f MB' % (peak / 1e6))


# ---- all ------------------------------------------------------------------------------------------------------------

def main():
    options = gimptest.parse_arguments(
        __doc__, ('--parts', {'help': 'kills, orphans, cancels, runs, trace, full, large; by commas, or all'}),
        ('--count', {'type': int, 'help': 'kills, cancels of each filter, or runs'}), ('--seed', {'type': int, 'default': 1}),
        ('--filters', {'default': ','.join(CANCELS), 'help': 'of the cancels'}))
    gimptest.skip_without_numpy()
    tap = gimptest.Tap()
    rng = random.Random(options.seed)
    parts = 'kills,orphans,cancels,runs,trace,full,large' if options.parts == 'all' else options.parts
    short = not parts
    counts = {'kills': 3, 'orphans': 3, 'cancels': 2, 'runs': 12} if short else {'kills': 50, 'orphans': 30, 'cancels': 100, 'runs': 200}
    if options.count:
        counts = dict.fromkeys(counts, options.count)
    parts = (parts or 'kills,orphans,runs,trace,full').split(',')
    with_windows = shutil.which('Xvfb') and shutil.which('xdotool')
    with gimptest.test_model(options) as model, gimptest.small_model(options) as small:
        if 'kills' in parts:
            check_kills(options, tap, small, counts['kills'], rng)
            check_kills(options, tap, small, counts['kills'], rng, handing=True)
        if 'orphans' in parts:
            check_orphans(options, tap, model, counts['orphans'], rng)
        if 'runs' in parts:
            check_runs(options, tap, small, counts['runs'])
        if 'trace' in parts:
            check_trace(options, tap, small, False)
            if with_windows and not short:
                check_trace(options, tap, small, True)
        if 'cancels' in parts and with_windows:
            for name in options.filters.split(','):
                check_cancels(options, tap, model, name, counts['cancels'], rng)
        if 'full' in parts:
            check_full(options, tap, small)
        if 'large' in parts:
            check_large(options, tap, model)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
