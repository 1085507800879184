package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// A batch on disk, in both copies alike; integers are little-endian:
//
//	0  "BJ"      magic
//	2  u8        version, 1
//	3  u8        kind
//	4  u64       sequence number, growing by one
//	12 u32       number of records
//	16 u32       bytes of payload
//	20 u32       CRC-32C of bytes 0–19 and the payload
//	24 payload   per record: u32 length, bytes
type batch struct {
	seq     uint64
	kind    byte
	records [][]byte
}

const (
	kindRecords      = 1
	kindSnapshotPart = 2 // all but the last piece of a snapshot
	kindSnapshotEnd  = 3 // the last piece: everything before it is superseded

	batchHeader  = 24
	batchVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (b batch) encode() []byte {
	size := 0
	for _, r := range b.records {
		size += 4 + len(r)
	}
	data := make([]byte, batchHeader, batchHeader+size)
	copy(data, "BJ")
	data[2], data[3] = batchVersion, b.kind
	binary.LittleEndian.PutUint64(data[4:], b.seq)
	binary.LittleEndian.PutUint32(data[12:], uint32(len(b.records)))
	binary.LittleEndian.PutUint32(data[16:], uint32(size))
	for _, r := range b.records {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(r)))
		data = append(data, r...)
	}
	binary.LittleEndian.PutUint32(data[20:], batchSum(data))
	return data
}

func batchSum(data []byte) uint32 {
	return crc32.Update(crc32.Checksum(data[:20], castagnoli), castagnoli, data[batchHeader:])
}

var (
	errTorn    = errors.New("cut off in the middle")
	errFlipped = errors.New("checksum does not match")
)

// batchLen is the whole length of the batch that begins data, if its header can be believed.
func batchLen(data []byte) (int, error) {
	if len(data) < batchHeader {
		return 0, errTorn
	}
	if string(data[:2]) != "BJ" {
		return 0, errors.New("not a journal batch")
	}
	if data[2] != batchVersion {
		return 0, fmt.Errorf("journal version %d is not known here", data[2])
	}
	n := batchHeader + int(binary.LittleEndian.Uint32(data[16:]))
	if n > len(data) {
		return 0, errTorn
	}
	return n, nil
}

func decodeBatch(data []byte) (batch, error) {
	n, err := batchLen(data)
	if err != nil {
		return batch{}, err
	}
	data = data[:n]
	if binary.LittleEndian.Uint32(data[20:]) != batchSum(data) {
		return batch{}, errFlipped
	}
	b := batch{kind: data[3], seq: binary.LittleEndian.Uint64(data[4:])}
	count := binary.LittleEndian.Uint32(data[12:])
	for rest := data[batchHeader:]; len(rest) >= 4; {
		n := int(binary.LittleEndian.Uint32(rest))
		if n > len(rest)-4 {
			return batch{}, errTorn
		}
		b.records = append(b.records, rest[4:4+n:4+n])
		rest = rest[4+n:]
	}
	if len(b.records) != int(count) {
		return batch{}, fmt.Errorf("%d records where %d were written", len(b.records), count)
	}
	return b, nil
}

// merge unites the two copies: from the newest whole snapshot on, every batch from whichever copy has it.
// A gap that neither copy fills is an error. Words for what one copy lacked are added to damage.
func merge(streamed, logged []batch, damage *[]string) ([]batch, error) {
	all := map[uint64]batch{}
	for _, b := range slices.Concat(streamed, logged) {
		all[b.seq] = b
	}
	seqs := slices.Sorted(maps.Keys(all))
	begin := 0 // position of the first batch that still counts
	for i, seq := range seqs {
		if all[seq].kind == kindSnapshotEnd && wholeSnapshot(all, seqs[:i]) {
			begin = i
			for begin > 0 && all[seqs[begin-1]].kind == kindSnapshotPart {
				begin--
			}
		}
	}
	var merged []batch
	for i, seq := range seqs[begin:] {
		if i > 0 && seq != merged[i-1].seq+1 {
			return nil, fmt.Errorf("batches %d to %d are lost in both copies", merged[i-1].seq+1, seq-1)
		}
		merged = append(merged, all[seq])
	}
	if len(merged) > 0 && merged[0].seq != 1 && merged[0].kind == kindRecords {
		return nil, fmt.Errorf("batches before %d are lost in both copies", merged[0].seq)
	}
	for name, part := range map[string][]batch{"stream": streamed, "log": logged} {
		if missing := lacking(merged, part); missing > 0 {
			*damage = append(*damage, fmt.Sprintf("%d batches were missing in the %s", missing, name))
		}
	}
	slices.Sort(*damage)
	return merged, nil
}

// wholeSnapshot reports whether the parts before a snapshot's end follow each other without a gap.
func wholeSnapshot(all map[uint64]batch, before []uint64) bool {
	for i := len(before) - 1; i > 0 && all[before[i]].kind == kindSnapshotPart; i-- {
		if before[i-1] != before[i]-1 && all[before[i-1]].kind == kindSnapshotPart {
			return false
		}
	}
	return true
}

func lacking(all, part []batch) int {
	have := map[uint64]bool{}
	for _, b := range part {
		have[b.seq] = true
	}
	missing := 0
	for _, b := range all {
		if !have[b.seq] {
			missing++
		}
	}
	return missing
}

// unpack splits merged batches into the snapshot and the records after it.
func unpack(batches []batch) (snapshot []byte, records [][]byte) {
	for _, b := range batches {
		switch b.kind {
		case kindSnapshotPart, kindSnapshotEnd:
			snapshot = append(snapshot, slices.Concat(b.records...)...)
			if b.kind == kindSnapshotEnd && snapshot == nil {
				snapshot = []byte{}
			}
		default:
			records = append(records, b.records...)
		}
	}
	return snapshot, records
}
