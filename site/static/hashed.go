package static

import (
	"path"
	"strings"

	"bramble/artefact"
)

// mark says how much a name looks as if it had a hash of the content in it.
type mark int

const (
	plainName mark = iota
	maybe          // eight letters as Vite, Rollup and esbuild have them, which could be a word; or a number, which could be a date
	surely         // hexadecimal, with letters and digits
)

// fingerprint looks at the parts of a name before the last: app.3f9a1c07.js, index-DiwrgTda.css, main.4d2e8a91.js.map.
func fingerprint(name string) mark {
	found := plainName
	rest := name[strings.LastIndexByte(name, '/')+1:]
	for {
		part, after, more := strings.Cut(rest, ".")
		if rest = after; !more {
			return found
		}
		found = max(found, hexLike(part[strings.LastIndexAny(part, "-_~")+1:]), short(part))
	}
}

// hexLike is for what webpack, Parcel, Hugo and Django write: 8 to 64 small hexadecimal digits. Without letters it may be
// a date, and so it may with one at the end alone (20240131b).
func hexLike(token string) mark {
	const hex, digits, date = "0123456789abcdef", "0123456789", len("20240131")
	if len(token) < 8 || len(token) > 64 || strings.Trim(token, hex) != "" {
		return plainName
	}
	if rest := strings.TrimLeft(token, digits); rest == "" || len(rest) == 1 && len(token) > date {
		return maybe
	}
	if !strings.ContainsAny(token, digits) {
		return plainName // a word: "effaced", "deadbeef"
	}
	return surely
}

// short is for eight letters of base64url or base32 behind a dash, or alone.
func short(part string) mark {
	const size = 8
	begin := len(part) - size
	if begin < 0 || begin > 0 && part[begin-1] != '-' {
		return plainName
	}
	var small, capital, digit int
	for _, c := range []byte(part[begin:]) {
		switch {
		case 'a' <= c && c <= 'z':
			small = 1
		case 'A' <= c && c <= 'Z':
			capital = 1
		case '0' <= c && c <= '9':
			digit = 1
		case c != '_' && c != '-' || begin == 0:
			return plainName
		}
	}
	if small+capital+digit < 2 {
		return plainName
	}
	return maybe
}

// builders are folders in which a well-known program puts nothing but files that never change under their names.
var builders = []string{"_astro/", "_nuxt/", "_next/static/", "_app/immutable/"}

func inBuilder(name string) bool {
	for _, b := range builders {
		if strings.HasPrefix(name, b) || strings.Contains(name, "/"+b) {
			return true
		}
	}
	return false
}

// hashed decides which files of a tree never change under their names, so that they may be cached for ever: those whose
// mark is sure, and those that are perhaps marked in a folder of a builder, or in one with scripts or styles where every
// file is. What another release has with other content is none, whatever it is called.
func hashed(entries []artefact.Entry, earlier []*Release) map[string]bool {
	built := builtFolders(entries)
	found := map[string]bool{}
	for _, e := range entries {
		m := fingerprint(e.Path)
		if isPage(e.Path) || m == plainName || m == maybe && !inBuilder(e.Path) && !built[path.Dir(e.Path)] {
			continue
		}
		found[e.Path] = !changed(e, earlier)
	}
	return found
}

func builtFolders(entries []artefact.Entry) map[string]bool {
	built := map[string]bool{}
	for _, e := range entries {
		if ext := path.Ext(e.Path); ext == ".js" || ext == ".css" {
			built[path.Dir(e.Path)] = true
		}
	}
	for _, e := range entries {
		if e.FileMode().IsRegular() && fingerprint(e.Path) == plainName {
			delete(built, path.Dir(e.Path))
		}
	}
	return built
}

func changed(e artefact.Entry, earlier []*Release) bool {
	for _, r := range earlier {
		if f := r.files[e.Path]; f != nil && f.plain().Ref != e.Ref {
			return true
		}
	}
	return false
}

func isPage(name string) bool { return strings.HasPrefix(types[extension(name)], "text/html") }

// extension is a name's last part, in small letters and without the dot.
func extension(name string) string {
	return strings.ToLower(strings.TrimPrefix(path.Ext(path.Base(name)), "."))
}
