package static

import "bytes"

// best is the form that a client likes best, and of equally liked ones the smallest: RFC 9110, 12.5.3. Without
// the field, and where it accepts none of them, it is the plain one.
func (f *file) best(accept []byte) *form {
	if len(f.forms) == 1 || len(accept) == 0 {
		return f.plain()
	}
	best, most := f.plain(), max(quality(accept, "identity"), 0)
	for i := range f.forms[1:] {
		form := &f.forms[1+i]
		if q := quality(accept, form.coding); q > 0 && (q > most || q == most && form.Size < best.Size) {
			best, most = form, q
		}
	}
	return best
}

// quality is how much a coding is liked, in thousandths: what is said of it, or of *. A coding of which nothing
// is said has 0, the plain form too: it will do, but anything named is better.
func quality(accept []byte, coding string) int {
	any := 0
	for rest := accept; len(rest) > 0; {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte{','})
		name, params, _ := bytes.Cut(one, []byte{';'})
		name = trim(name)
		switch {
		case len(name) == 1 && name[0] == '*':
			any = weight(params)
		case same(name, coding), coding == "gzip" && same(name, "x-gzip"):
			return weight(params)
		}
	}
	return any
}

// weight reads ";q=0.5" in thousandths, 1000 without it, 0 for what is no weight: RFC 9110, 12.4.2.
func weight(params []byte) int {
	params = trim(params)
	if len(params) == 0 {
		return 1000
	}
	if len(params) < 3 || params[0]|0x20 != 'q' || params[1] != '=' || len(params) > len("q=0.000") {
		return 0
	}
	number := params[2:]
	if number[0] != '0' && number[0] != '1' || len(number) > 1 && number[1] != '.' {
		return 0
	}
	q, unit := int(number[0]-'0')*1000, 100
	for _, d := range number[min(2, len(number)):] {
		if d < '0' || d > '9' {
			return 0
		}
		q, unit = q+int(d-'0')*unit, unit/10
	}
	return min(q, 1000)
}
