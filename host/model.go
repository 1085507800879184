package host

import (
	"strconv"
	"strings"
)

// board is a machine as its firmware and kernel describe it.
type board struct{ family, name, revision, serial string }

// evidence is what tells one board from another; every part may be empty.
type evidence struct {
	cpu        map[string]string // fields of /proc/cpuinfo
	model      string            // device tree: the maker's text
	compatible []string          // device tree: "maker,board" and "maker,chip", most exact first
	revision   string            // device tree: Raspberry Pi revision code
	serial     string            // device tree
	product    string            // DMI: maker and product of a PC
}

// identify names the board. A revision code counts only on a Raspberry Pi: others
// print one too (an ODROID-XU4 says 0100, which is no Raspberry Pi).
func identify(e evidence) board {
	b := board{
		family: "unknown",
		name:   first(e.model, e.cpu["Model"], e.product, e.cpu["Hardware"], e.cpu["model name"]),
		serial: first(e.serial, e.cpu["Serial"]),
	}
	if strings.Trim(b.serial, "0") == "" {
		b.serial = ""
	}
	switch {
	case isPi(e, b.name):
		b.revision = first(e.cpu["Revision"], e.revision)
		b.family = first(familyOfRevision(b.revision), familyOfPiText(b.name), "unknown")
	case e.cpu["vendor_id"] != "":
		b.family = "x86"
	default:
		b.family = first(familyOfMaker(e.compatible, b.name, e.cpu["Hardware"]), "unknown")
	}
	return b
}

func isPi(e evidence, name string) bool {
	for _, c := range e.compatible {
		if strings.HasPrefix(c, "raspberrypi,") {
			return true
		}
	}
	hardware := e.cpu["Hardware"] // BCM2708 to BCM2712 by kernel, BCM2835 ever since 4.9
	return strings.HasPrefix(name, "Raspberry Pi") ||
		e.model == "" && (strings.HasPrefix(hardware, "BCM27") || strings.HasPrefix(hardware, "BCM28"))
}

// familyOfRevision decodes a Raspberry Pi revision code, given in hex.
// New style, bit 23 set: NOQuuuWuFMMMCCCCPPPPTTTTTTTTRRRR, the type in bits 4–11.
// Old style: numbers 2 to 15, with 0x1000000 added once the warranty is void.
// Source: "Raspberry Pi revision codes" in Raspberry Pi's documentation.
func familyOfRevision(hex string) string {
	code, err := strconv.ParseUint(strings.TrimPrefix(hex, "0x"), 16, 32)
	if err != nil {
		return ""
	}
	if code&(1<<23) != 0 {
		return piTypes[byte(code>>4)]
	}
	switch old := code & 0xffff; {
	case old == 0x11 || old == 0x14:
		return "cm1"
	case old >= 2 && old <= 9, old >= 0xd && old <= 0x15:
		return "pi1"
	}
	return ""
}

// piTypes are the board types of new-style revision codes.
var piTypes = map[byte]string{
	0x00: "pi1", 0x01: "pi1", 0x02: "pi1", 0x03: "pi1", // A, B, A+, B+
	0x04: "pi2",
	0x06: "cm1",
	0x08: "pi3", 0x0d: "pi3", 0x0e: "pi3", // 3B, 3B+, 3A+
	0x09: "pizero", 0x0c: "pizero", // Zero, Zero W
	0x0a: "cm3", 0x10: "cm3", // CM3, CM3+
	0x11: "pi4",
	0x12: "pizero2",
	0x13: "pi400",
	0x14: "cm4", 0x15: "cm4", // CM4, CM4S
	0x17: "pi5",
	0x18: "cm5", 0x1a: "cm5", // CM5, CM5 Lite
	0x19: "pi500", // 500, 500+
	0x1b: "cm0",
}

// piTexts are marks in the maker's text, most exact first, for a code newer than piTypes.
var piTexts = []struct{ mark, family string }{
	{"Compute Module 5", "cm5"}, {"Compute Module 4", "cm4"}, {"Compute Module 3", "cm3"},
	{"Compute Module 0", "cm0"}, {"Compute Module", "cm1"},
	{"Zero 2", "pizero2"}, {"Zero", "pizero"},
	{"Pi 500", "pi500"}, {"Pi 400", "pi400"},
	{"Pi 5", "pi5"}, {"Pi 4", "pi4"}, {"Pi 3", "pi3"}, {"Pi 2", "pi2"}, {"Pi Model", "pi1"},
}

func familyOfPiText(text string) string {
	for _, t := range piTexts {
		if strings.Contains(text, t.mark) {
			return t.family
		}
	}
	return ""
}

// makers are families of other boards: the device tree's maker, or a mark in the
// board's text in lower case. An empty maker stands for one that makes several families.
var makers = []struct{ maker, mark, family string }{
	{"hardkernel", "odroid", "odroid"},
	{"xunlong", "orange pi", "orangepi"},
	{"xunlong", "orangepi", "orangepi"},
	{"sinovoip", "banana pi", "bananapi"},
	{"friendlyarm", "nanopi", "nanopi"},
	{"radxa", "rock pi", "rock"},
	{"libretech", "libre computer", "libre"},
	{"khadas", "khadas", "khadas"},
	{"pine64", "pine64", "pine64"},
	{"", "tinker board", "tinker"},
	{"", "beaglebone", "beagle"},
	{"nvidia", "jetson", "jetson"},
	{"starfive", "visionfive", "visionfive"},
}

func familyOfMaker(compatible []string, texts ...string) string {
	text := strings.ToLower(strings.Join(texts, " "))
	for _, m := range makers {
		if strings.Contains(text, m.mark) {
			return m.family
		}
	}
	for _, m := range makers {
		for _, c := range compatible {
			if m.maker != "" && strings.HasPrefix(c, m.maker+",") {
				return m.family
			}
		}
	}
	return ""
}

// archOf is the architecture as Go and OCI name it. An armv6 binary on a board that
// can do more says armv7, so that the board may be given what was built for armv7;
// "CPU architecture: 7" proves nothing, for the ARM1176 of a Pi 1 prints it too.
func archOf(goarch, goarm string, cpu map[string]string) string {
	if goarch != "arm" {
		return goarch
	}
	for _, feature := range strings.Fields(cpu["Features"]) {
		switch feature {
		case "neon", "vfpv3", "vfpv3d16", "vfpv4", "asimd":
			return "armv7"
		}
	}
	if strings.HasPrefix(goarm, "7") {
		return "armv7"
	}
	return "armv6"
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}
