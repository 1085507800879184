package static

// file answers with a file: status is 200, or 404 when it stands for what is missing. False is that the release is being closed.
func (x *exchange) file(status int, f *file, l *lines) bool {
	var space [34]byte
	form := f.best(x.wish.encoding)
	tag := form.tag(space[:0])
	if status != 200 {
		return x.whole(status, f, form, l, tag)
	}
	switch x.wish.judge(tag, x.from.modified) {
	case notModified:
		x.head(304, f, form, l, tag, -1)
		return true
	case failed:
		x.plain(412, "")
		return true
	}
	if x.wish.spans == 1 && string(x.req.Method) == "GET" && x.wish.rangeHolds(tag, x.from.modified) {
		var space [mostSpans]span
		switch spans, ok := parseRange(x.wish.span, form.Size, space[:0]); {
		case ok && len(spans) == 0:
			x.plain(416, "Content-Range: bytes */"+string(appendNumber(nil, "", form.Size, "\r\n")))
			return true
		case ok && len(spans) == 1:
			return x.part(f, form, l, tag, spans[0])
		case ok && form.body != nil:
			x.parts(f, form, l, tag, spans)
			return true
		}
	}
	return x.whole(status, f, form, l, tag)
}

func (x *exchange) whole(status int, f *file, form *form, l *lines, tag []byte) bool {
	x.head(status, f, form, l, tag, form.Size)
	return x.body(form, 0, form.Size)
}

func (x *exchange) part(f *file, form *form, l *lines, tag []byte, s span) bool {
	x.head(206, f, form, l, tag, s.size)
	x.setHead(appendContentRange(x.ans.Space, s, form.Size))
	return x.body(form, s.offset, s.size)
}

// parts answers with several parts. The boundary comes in the body only by the greatest of chances: it is a part of its hash.
func (x *exchange) parts(f *file, form *form, l *lines, tag []byte, spans []span) {
	boundary := tag[1 : len(tag)-1]
	body := multipart(boundary, l.kind, form.body, spans)
	several := *l
	several.ok = replaceKind(l, "multipart/byteranges; boundary="+string(boundary))
	x.head(206, f, form, &several, tag, int64(len(body)))
	x.ans.Body = body
}

// head makes the answer's head.
func (x *exchange) head(status int, f *file, form *form, l *lines, tag []byte, length int64) {
	b := append(x.ans.Space[:x.used], statusLine(status)...)
	if length >= 0 {
		b = appendNumber(b, "Content-Length: ", length, "\r\n")
	}
	if status != 404 {
		b = append(append(append(b, "ETag: "...), tag...), "\r\n"...)
	}
	switch {
	case status == 304:
		b = append(b, l.kept...)
	default:
		if form.coding != "" {
			b = append(append(append(b, "Content-Encoding: "...), form.coding...), "\r\n"...)
		}
		b = append(b, l.ok...)
	}
	switch {
	case x.setsCookie(f, l):
		b = append(append(b, "Cache-Control: private, no-cache\r\n"...), x.from.setting...)
	case status == 404:
		b = append(b, "Cache-Control: no-cache\r\n"...)
	default:
		b = append(b, l.cache...)
	}
	x.setHead(b)
}

// setsCookie reports whether the answer is a page whose assets the client would otherwise get from another release. Where
// a site's owner has said how pages are cached, others may see the answer, which must not carry a cookie then.
func (x *exchange) setsCookie(f *file, l *lines) bool {
	return x.from.setting != nil && l.ours && x.forPage(f) && !x.wish.has(x.from.cookie)
}
