package keeper

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"time"
)

// The journal is one append-only file: 16 bytes of magic, then records without padding.
//
//	offset  size
//	0       1     kind: 'b' begun, 'e' ended, 'f' forgotten
//	1       4     size of the head, little endian
//	5       4     size of the tail, little endian
//	9       4     CRC-32C of bytes 0–8, the head and the tail, little endian
//	13            head: a JSON object; unknown fields are ignored
//	…             tail: raw bytes
//
// The head of 'b' is {"id","at"}, of 'e' a Status without its small output, of 'f' {"ids"}.
// The tail of 'e' is the small output: Stdout bytes, then Stderr bytes, when they are small enough
// to ride along; it is empty otherwise, and for 'b' and 'f'.
const (
	journalMagic = "bramble spool 1\n"
	recordHeader = 13
	maxRecord    = 16 << 20
)

const (
	kindBegun     = 'b'
	kindEnded     = 'e'
	kindForgotten = 'f'
)

var errDamaged = errors.New("damaged record")

// record is one fact of the journal.
type record struct {
	kind byte
	head []byte
	tail []byte
}

// begun is the head of a 'b' record, written before the task is forked.
type begun struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

// forgotten is the head of an 'f' record.
type forgotten struct {
	IDs []string `json:"ids"`
}

func newRecord(kind byte, head any, tail []byte) record {
	text, err := json.Marshal(head)
	if err != nil {
		panic("keeper: a record cannot be encoded: " + err.Error()) // only a time out of range can do this
	}
	return record{kind: kind, head: text, tail: tail}
}

func (r record) size() int64 { return int64(recordHeader + len(r.head) + len(r.tail)) }

func (r record) appendTo(b []byte) []byte {
	start := len(b)
	b = append(b, r.kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.head)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.tail)))
	b = binary.LittleEndian.AppendUint32(b, r.sum(b[start:]))
	b = append(b, r.head...)
	return append(b, r.tail...)
}

// sum is the CRC of the record whose first nine bytes are given.
func (r record) sum(first []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, first[:9])
	sum = crc32.Update(sum, table, r.head)
	return crc32.Update(sum, table, r.tail)
}

// readRecord reads the record at off of a file of the given size; errDamaged when there is none.
func readRecord(file io.ReaderAt, off, size int64) (record, error) {
	var header [recordHeader + 1]byte // with the brace that begins every head
	if off+int64(len(header)) > size {
		return record{}, errDamaged
	}
	if _, err := file.ReadAt(header[:], off); err != nil {
		return record{}, err
	}
	kind, brace := header[0], header[recordHeader]
	head, tail := int64(binary.LittleEndian.Uint32(header[1:])), int64(binary.LittleEndian.Uint32(header[5:]))
	known := kind == kindBegun || kind == kindEnded || kind == kindForgotten
	if !known || brace != '{' || head+tail > maxRecord || off+recordHeader+head+tail > size {
		return record{}, errDamaged
	}
	body := make([]byte, head+tail)
	if _, err := file.ReadAt(body, off+recordHeader); err != nil {
		return record{}, err
	}
	r := record{kind: kind, head: body[:head], tail: body[head:]}
	if r.sum(header[:]) != binary.LittleEndian.Uint32(header[9:]) {
		return record{}, errDamaged
	}
	return r, nil
}

// fact is a decoded record; the field that its kind names is set.
type fact struct {
	kind      byte
	begun     begun
	ended     Status
	forgotten []string
}

func (r record) fact() (fact, error) {
	f := fact{kind: r.kind}
	var err error
	switch r.kind {
	case kindBegun:
		err = json.Unmarshal(r.head, &f.begun)
	case kindEnded:
		err = json.Unmarshal(r.head, &f.ended)
	case kindForgotten:
		var gone forgotten
		err = json.Unmarshal(r.head, &gone)
		f.forgotten = gone.IDs
	}
	return f, err
}

// ids are the tasks that the fact is about.
func (f fact) ids() []string {
	switch f.kind {
	case kindBegun:
		return []string{f.begun.ID}
	case kindEnded:
		return []string{f.ended.ID}
	}
	return f.forgotten
}
