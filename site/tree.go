package site

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"bramble/artefact"
	"bramble/fault"
	"bramble/site/static"
	"bramble/sorts"
)

// A release's manifest has the site's files below files/, and compressed forms of some of them, made once when it was
// published, at the same paths below gzip/ and zstd/. So one hash names all, and all travels the same way.
const filesDir = "files"

// encodings are the forms that publishing makes, by the names that HTTP has for them.
var encodings = []string{"gzip", "zstd"}

// split takes a release's manifest apart.
func split(m artefact.Manifest) (files artefact.Manifest, variants map[string][]static.Variant, err error) {
	variants = map[string][]static.Variant{}
	for _, e := range m.Entries {
		top, rest, below := strings.Cut(e.Path, "/")
		switch {
		case !below && e.FileMode().IsDir() && (top == filesDir || slices.Contains(encodings, top)):
		case !below:
			return files, nil, fault.New(fault.Misused, "%.200s is no part of a release", e.Path)
		case top == filesDir:
			e.Path = rest
			files.Entries = append(files.Entries, e)
		case slices.Contains(encodings, top):
			if e.FileMode().IsRegular() {
				variants[rest] = append(variants[rest], static.Variant{Encoding: top, Blob: artefact.Blob{Ref: e.Ref, Size: e.Size}})
			}
		default:
			return files, nil, fault.New(fault.Misused, "%.200s is no part of a release", e.Path)
		}
	}
	if n, _ := files.Sum(); n == 0 {
		return files, nil, fault.New(fault.Misused, "a release without files")
	}
	return files, variants, nil
}

// join is the opposite of split.
func join(files artefact.Manifest, variants map[string][]static.Variant) artefact.Manifest {
	var m artefact.Manifest
	made := map[string]bool{}
	var folder func(p string)
	folder = func(p string) {
		if p == "." || made[p] {
			return
		}
		folder(path.Dir(p))
		made[p] = true
		m.Entries = append(m.Entries, artefact.Entry{Path: p, Mode: uint32(fs.ModeDir | 0o755)})
	}
	folder(filesDir)
	for _, e := range files.Entries {
		e.Path = filesDir + "/" + e.Path
		m.Entries = append(m.Entries, e)
	}
	for p, list := range variants {
		for _, v := range list {
			at := v.Encoding + "/" + p
			folder(path.Dir(at))
			m.Entries = append(m.Entries, artefact.Entry{Path: at, Mode: 0o644, Ref: v.Blob.Ref, Size: v.Blob.Size})
		}
	}
	sorts.By(m.Entries, func(a, b artefact.Entry) int { return strings.Compare(a.Path, b.Path) })
	return m
}
