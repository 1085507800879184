package static

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// types are the media types by a name's last part, in small letters. They are ours, for a machine's own table
// would let the same site differ from node to node. Sources: IANA's registry; the MIME Sniffing standard.
var types = map[string]string{
	"html": "text/html", "htm": "text/html", "xhtml": "application/xhtml+xml",
	"css": "text/css", "js": "text/javascript", "mjs": "text/javascript", "cjs": "text/javascript",
	"json": "application/json", "map": "application/json", "jsonld": "application/ld+json", "geojson": "application/geo+json",
	"webmanifest": "application/manifest+json", "wasm": "application/wasm", "jsonl": "application/jsonl",
	"xml": "text/xml", "xsl": "text/xml", "xsd": "text/xml", "rss": "application/rss+xml", "atom": "application/atom+xml",
	"txt": "text/plain", "text": "text/plain", "log": "text/plain", "conf": "text/plain", "ini": "text/plain", "toml": "text/plain",
	"c": "text/plain", "h": "text/plain", "cc": "text/plain", "cpp": "text/plain", "go": "text/plain", "rs": "text/plain",
	"py": "text/plain", "sh": "text/plain", "rb": "text/plain", "pl": "text/plain", "java": "text/plain", "ts": "text/plain", "diff": "text/plain", "patch": "text/plain",
	"md": "text/markdown", "markdown": "text/markdown", "csv": "text/csv", "tsv": "text/tab-separated-values", "vtt": "text/vtt",
	"ics": "text/calendar", "vcf": "text/vcard", "yaml": "application/yaml", "yml": "application/yaml", "rtf": "application/rtf",
	"svg": "image/svg+xml", "png": "image/png", "apng": "image/apng", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
	"webp": "image/webp", "avif": "image/avif", "ico": "image/x-icon", "bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff", "jxl": "image/jxl", "heic": "image/heic",
	"mp3": "audio/mpeg", "m4a": "audio/mp4", "aac": "audio/aac", "ogg": "audio/ogg", "oga": "audio/ogg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav", "mid": "audio/midi", "weba": "audio/webm",
	"mp4": "video/mp4", "m4v": "video/mp4", "webm": "video/webm", "ogv": "video/ogg", "mov": "video/quicktime", "mkv": "video/x-matroska", "avi": "video/x-msvideo", "mpg": "video/mpeg", "mpeg": "video/mpeg",
	"m3u8": "application/vnd.apple.mpegurl", "mpd": "application/dash+xml", "m3u": "audio/mpegurl",
	"woff": "font/woff", "woff2": "font/woff2", "ttf": "font/ttf", "otf": "font/otf", "ttc": "font/collection", "eot": "application/vnd.ms-fontobject",
	"pdf": "application/pdf", "ps": "application/postscript", "epub": "application/epub+zip",
	"zip": "application/zip", "gz": "application/gzip", "tgz": "application/gzip", "tar": "application/x-tar", "bz2": "application/x-bzip2", "xz": "application/x-xz", "zst": "application/zstd", "7z": "application/x-7z-compressed", "jar": "application/java-archive",
	"deb": "application/vnd.debian.unknownType-package", "rpm": "application/x-rpm", "apk": "application/vnd.android.package-archive", "iso": "application/x-iso9660-image",
	"doc": "application/msword", "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint",
	"docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	"odt":  "application/vnd.oasis.opendocument.text", "ods": "application/vnd.oasis.opendocument.spreadsheet", "odp": "application/vnd.oasis.opendocument.presentation",
	"gltf": "model/gltf+json", "glb": "model/gltf-unknownType", "stl": "model/stl",
}

const unknownType = "application/octet-stream"

// typeOf is the media type of a file with that name that begins so; whole says whether the beginning is all of it.
// Texts say their character set, but those that are not UTF-8: they may say it themselves.
func typeOf(name string, beginning []byte, whole bool) string {
	kind, known := types[extension(name)]
	text := isText(beginning, whole)
	switch {
	case !known && extension(name) == "" && text && len(beginning) > 0:
		kind = "text/plain" // LICENSE, README
	case !known:
		return unknownType
	}
	if text && strings.HasPrefix(kind, "text/") {
		return kind + "; charset=utf-8"
	}
	return kind
}

// decides reports whether the type of a file with that name depends on its content.
func decides(name string) bool {
	ext := extension(name)
	return ext == "" || strings.HasPrefix(types[ext], "text/")
}

// isText reports whether bytes are UTF-8 without NUL; the last character may be cut off unless they are the whole.
func isText(b []byte, whole bool) bool {
	if !whole {
		b = b[:len(b)-cutOff(b)]
	}
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

// cutOff is how many bytes at the end are the beginning of a character.
func cutOff(b []byte) int {
	for n := range min(utf8.UTFMax, len(b)) {
		if last := b[len(b)-1-n:]; utf8.RuneStart(last[0]) && !utf8.FullRune(last) {
			return len(last)
		}
	}
	return 0
}
