#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""damage.py CHAIN [NAME...]: real jumps with damaged handovers, one for each line of
linux/vm/damages, or for the named ones; random-SEED-NUMBER: one that was drawn before. CHAIN is of three kernels:
the first hands over, the second is given the damaged handover, the third what the second hands over.

  --all         those that are marked as long, too
  --random N    N damages drawn instead, by the seed KHO_SEED (else 1): anything may be accepted
  --with WORD   on the kernels' command line, too. kho_on_fault=panic: where a handover must be
                refused, the next kernel must say why, and stop
  --seen        say what happened, and judge nothing

The first kernel is stopped twice and saved: when the next kernel's image is loaded and its digest
not taken yet ("load"), and at the jump ("jump"). Each damage starts from there. Prints "ok ..." and
"not ok ... # why"; the consoles are build/vm/damage-NAME-CHAIN.log."""
import itertools
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time

import guest

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "../../build/vm")
SECONDS = int(os.environ.get("KHO_DAMAGE_SECONDS", "60"))
PANIC = "kho_on_fault=panic"
CLASSES = "refuse", "consumer", "accept", "warns", "any"
DRAWN = re.compile(r"random-(\d+)-(\d+)")
STOPS = {"load": "kexec_calculate_store_digests", "jump": "machine_kexec"}
SPLAT = re.compile(r"BUG[: ]|WARNING|Oops|Call Trace|Kernel panic|general protection|rcu: .*stall"
                   r"|Unable to handle|EXT_RESET")


class Unchanged(guest.Failed):
    """What was to be written was there already."""


class Damage:
    """A line of the table: NAME WHEN PLACE WIDTH VALUE CLASS STRUCTURE."""

    def __init__(self, line):
        (self.name, self.when, self.place, self.width, self.value, self.expect,
         self.structure, *more) = line.split()
        self.long = more == ["long"]
        if self.when not in STOPS or self.expect not in CLASSES:
            raise guest.Failed(f"damages: {line}")


def table():
    with open(os.path.join(HERE, "damages"), encoding="ascii") as file:
        return [Damage(line) for line in file if line.strip() and not line.startswith("#")]


class Image:
    """A guest that was saved: its state, and where everything is in its memory."""

    def __init__(self, when, path):
        self.when = when
        self.state = f"{path}.{when}.state"
        self.core = f"{path}.{when}.core"
        self.scratch = 0
        self.places = {}

    def take(self, machine, kernel):
        machine.monitor.save(self.state)
        machine.monitor.dump(self.core)
        # The table of scratch areas is given to the next kernel as it is: it is the image's.
        table_at = int.from_bytes(machine.debugger.read(kernel.address("kho_scratch"), 8), "little")
        count = int.from_bytes(machine.debugger.read(kernel.address("kho_scratch_cnt"), 4), "little")
        words = struct.unpack(f"<{2 * count}Q", machine.debugger.read(table_at, 16 * count))
        areas = [f"{at:#x}:{size:#x}" for at, size in zip(words[::2], words[1::2])]
        self.scratch = table_at
        text = subprocess.run([f"{OUT}/locate", self.core, *areas], text=True,
                              stdout=subprocess.PIPE, check=False).stdout
        for line in text.splitlines():
            name, _, at = line.partition(" ")
            if not re.fullmatch("0x[0-9a-f]+", at):
                raise guest.Failed(f"locate: {line}")
            self.places.setdefault(name, []).append(int(at, 16))
        os.unlink(self.core)

    def resolve(self, words):
        """PLACE[+OFFSET], or %PLACE[+OFFSET]: its page. Return: the addresses."""
        match = re.fullmatch(r"(%?)([^+]+)(?:\+(-?\w+))?", words)
        name, offset = match.group(2), int(match.group(3) or "0", 0)
        if name not in self.places:
            raise guest.Failed(f"nothing is called {name} at the {self.when}")
        mask = ~4095 if match.group(1) else ~0
        return [(at & mask) + offset for at in self.places[name]]


def new_value(image, damage, old):
    """VALUE: a number; +N, ^N: of what is there; @PLACE: its address, %PLACE: of its page,
    pfn:PLACE: as a memfd's list has it; fill:B: that byte throughout."""
    width, value = len(old), damage.value
    if value.startswith("fill:"):
        return bytes([int(value[5:], 0)]) * width
    if value[0] in "@%":
        number = image.resolve(value.removeprefix("@"))[0]
    elif value.startswith("pfn:"):
        number = image.resolve(value[4:])[0] >> 12 | 3 << 52
    elif value[0] in "+^":
        was, by = int.from_bytes(old, "little"), int(value[1:], 0)
        number = was + by if value[0] == "+" else was ^ by
    else:
        number = int(value, 0)
    return (number & (1 << 8 * width) - 1).to_bytes(width, "little")


def write(machine, image, damage):
    """Return: the addresses that are to be named, where the damage is and where it points, and how
    to undo it in the old kernel, or None."""
    debugger, width = machine.debugger, int(damage.width, 0)
    if damage.place.startswith("scratch"):
        # By the kernel's own mapping: the table is the old kernel's as well, which goes on.
        at = image.scratch + int(damage.place.partition("+")[2] or "0", 0)
        old = debugger.read(at, width)
        debugger.write(at, new_value(image, damage, old))
        return [], (at, old)
    debugger.physical(1)
    places = image.resolve(damage.place)
    changed, points = False, []
    for at in places:
        old = debugger.read(at, width)
        new = new_value(image, damage, old)
        debugger.write(at, new)
        changed |= new != old
        points.append(int.from_bytes(new[:8], "little"))
    debugger.physical(0)
    if not changed:
        raise Unchanged("the damage changes nothing")
    return places + points, None


def jump(command, console, image, kernel, damage, keep):
    """Return: the console, whether it powered off, the damaged addresses."""
    with guest.Guest(command, "-incoming", "defer") as machine:
        machine.monitor.load(image.state)
        places, undo = write(machine, image, damage)
        if undo:
            machine.debugger.run_to(kernel.address("kernel_kexec"))
            machine.debugger.write(*undo)
        machine.debugger.leave()
        ended = machine.wait(SECONDS)
    shutil.copyfile(console, keep)
    with open(keep, encoding="ascii", errors="replace") as file:
        return file.read(), ended, places


def first(pattern, log):
    match = re.search(pattern, log, re.M)
    return match.group(0).strip() if match else ""


def seen(log, ended):
    """What happened, in a few words."""
    lines = [line for line in log.splitlines() if SPLAT.search(line)]
    panic = first(r"Kernel panic.*|BUG: .*|general protection.*", log)
    arrived = first(r"^VM: arrived.*", log)
    if panic:
        return re.sub(r"\[ *[\d.]+\] ?", "", panic)
    if not ended and "VM: boot 1" not in log:
        return "the next kernel does not come up"
    words = [arrived[4:] or "?"]
    if "VM: end" not in log:
        words.append(first(r"^VM: fail: .*", log)[4:] or "stops before its end")
    words += [re.sub(r"\[ *[\d.]+\] ?", "", line).strip() for line in lines[:1]]
    return "; ".join(words)


def refusal(log):
    """The line that says structure, address and reason, of the boot after the damage."""
    return first(r"^.*\bKHO: .*(refused|refusing).*$", log)


def refused_wrong(damage, places, log):
    """Nothing if that line is as it must be, else why not."""
    line = refusal(log)
    if not line:
        return "no line says that the handover is refused"
    if damage.structure == "-":
        return ""
    if not re.search(damage.structure, line):
        return f"not about {damage.structure}: {line}"
    named = re.search(r" at (0x[0-9a-f]+)", line)
    if places and (not named or int(named.group(1), 16) >> 12 not in {at >> 12 for at in places}):
        return f"does not name {places[0]:#x}: {line}"
    return ""


def warning(damage):
    """What may be in a warning of the kernel's own code, of a damage that is drawn any that is known."""
    if damage.expect == "warns":
        return damage.structure
    if damage.expect == "any":
        return "|".join(line.structure for line in table() if line.expect == "warns")
    return "(?!)"


def judge(damage, places, log, ended):
    """Nothing if the kernels did as they must, else why not."""
    splat = SPLAT.search(log)
    if splat and re.search(warning(damage), log):
        splat = None
    elif damage.expect == "warns":
        return f"no warning with {damage.structure}"
    files = re.search(r"^VM: arrived session: \d+ files right, (\d+) wrong", log, re.M)
    if splat:
        return first(".*" + re.escape(splat.group(0)) + ".*", log)
    for pattern in ("^VM: boot 1 ", "^VM: done 1", "^VM: boot 2 ", "^VM: done 2", "^VM: end"):
        if not re.search(pattern, log, re.M):
            why = first(r"^VM: fail: .*", log) or ("" if ended else f"{SECONDS} s are over")
            return f"no \"{pattern[1:]}\" {why}".strip()
    unmade = first(r"^VM: made no session.*", log)
    lost = first(r"^VM: boot 2 has no session.*", log)
    # To lose it is the consumer's own way of refusing, and nobody else's.
    if (lost or unmade) and (damage.expect not in ("consumer", "warns", "any") or not unmade):
        return lost or unmade
    if damage.expect == "refuse":
        if "VM: arrived no session" not in log:
            return "a session arrived all the same"
        return refused_wrong(damage, places, log)
    if damage.expect == "consumer" and files and files.group(1) != "0":
        return files.group(0)
    return ""


def judge_panic(damage, places, log):
    """Nothing if the next kernel has said why it does not go on."""
    if "Kernel panic - not syncing: KHO: handover refused, and kho_on_fault=panic" not in log:
        return "no panic"
    if "VM: boot 1" in log:
        return "the next kernel runs all the same"
    return refused_wrong(damage, places, log)


def draw(images, seed):
    """Damages of anything, to anything, without end."""
    dice = random.Random(seed)
    names = sorted(set(images["jump"].places) - {"end", "free", "setup", "scratch.area"})
    for number in itertools.count():
        width = dice.choice((1, 2, 4, 8))
        offset = dice.choice((0, 0, 8, 16, dice.randrange(0, 4096 - 8)))
        value = dice.choice(("0", hex(2**64 - 1), f"+{dice.choice((1, 8, 4096))}",
                             f"^{hex(1 << dice.randrange(8 * width))}",
                             hex(dice.getrandbits(64)), f"@{dice.choice(names)}", "@end", "@free"))
        yield Damage(f"random-{seed}-{number} jump {dice.choice(names)}+{offset} {width} {value} any -")


def drawn_before(images, name):
    match = DRAWN.fullmatch(name)
    return next(itertools.islice(draw(images, int(match.group(1))), int(match.group(2)), None))


def prepare(chain, command, kernel):
    images = {when: Image(when, f"{OUT}/damage-{chain}.{os.getpid()}") for when in STOPS}
    with guest.Guest(command) as machine:
        for when, symbol in STOPS.items():
            machine.debugger.run_to(kernel.address(symbol))
            images[when].take(machine, kernel)
    return images


def one(damage, image, command, console, kernel, chain, options):
    """A damaged handover, and what comes of it. Return: was there any damage?"""
    began = time.time()
    log, places, ended = "", [], False
    more = options[options.index("--with") + 1] if "--with" in options else ""
    keep = f"{OUT}/damage-{damage.name}-{chain.replace('>', '-')}{'.' if more else ''}{more}.log"
    try:
        log, ended, places = jump(command, console, image, kernel, damage, keep)
        if PANIC in command[-1].split():
            why = judge_panic(damage, places, log)
        else:
            why = judge(damage, places, log, ended)
    except guest.Failed as error:
        if "--random" in options and isinstance(error, Unchanged):
            return False
        why = str(error)
    happened = seen(log, ended) if log else why
    what = damage.name
    if DRAWN.fullmatch(damage.name):
        what += f" {damage.place} {damage.width} {damage.value}"
    if more:
        what += f" {more}"
    if "--seen" in options:
        print(f"{damage.name}: {happened}", flush=True)
    else:
        print(f"not ok damage {what} {chain} # {why}" if why else f"ok damage {what} {chain}",
              flush=True)
    print(f"# {time.time() - began:.1f} s: {happened}", file=sys.stderr, flush=True)
    return True


def main(arguments):
    options, words = [], []
    while arguments:
        word = arguments.pop(0)
        (options if word.startswith("--") else words).append(word)
        if word in ("--random", "--with"):
            options.append(arguments.pop(0))
    chain, *names = words
    damages = [damage for damage in table() if damage.name in names or
               not names and (not damage.long or "--all" in options)]
    drawn = [name for name in names if DRAWN.fullmatch(name)]
    if set(names) - {damage.name for damage in damages} - set(drawn):
        raise guest.Failed(f"the table has not all of {names}")
    plain = chain.replace(">", "-")
    more = options[options.index("--with") + 1].split() if "--with" in options else []
    if PANIC in more:
        # It stops before there is any other console.
        more.insert(0, "earlyprintk=serial,ttyS0")
    command, console = guest.command("damaged", chain, "nokaslr", "reserve_mem=2M:2M:kept", *more,
                                     KHO_QEMU="-m 512M", KHO_TAG=str(os.getpid()))
    kernel = guest.Kernel(chain.split(">", maxsplit=1)[0])
    images = prepare(plain, command, kernel)
    damages += [drawn_before(images, name) for name in drawn]
    left = len(damages)
    if "--random" in options:
        seed = int(os.environ.get("KHO_SEED", "1"), 0)
        print(f"# KHO_SEED={seed}", flush=True)
        damages, left = draw(images, seed), int(options[options.index("--random") + 1])
    for damage in damages:
        left -= one(damage, images[damage.when], command, console, kernel, chain, options)
        if left <= 0:
            break
    for image in images.values():
        os.unlink(image.state)
    os.unlink(command[command.index("-initrd") + 1])
    os.unlink(console)


try:
    main(sys.argv[1:])
except guest.Failed as error_:
    print(f"not ok damage # {error_}")
