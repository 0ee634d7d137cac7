package ledger

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// rowsName is the file of the counts by topic and by client in the data directory.
const rowsName = "books.rows"

// What saving the rows may cost: one part in rowsShare of the time, and so many bytes a second on the disk.
const (
	rowsShare = 200
	rowsPace  = 64 << 10
)

// Rows are a broker's counts by topic and by client, as broker.Carry has them.
type Rows interface {
	Names() *tally.Names
	Topics(ctx context.Context, each func(tally.Topic, *tally.Detail) error) error
	Heavy(ctx context.Context) ([tally.Weights][]tally.Heavy, error)
	Sessions(ctx context.Context, each func(*broker.Session) error) error
	AddTopics(ctx context.Context, all []broker.Counted) error
	AddHeavy(ctx context.Context, by tally.Weight, names []tally.Heavy) error
	AddSessions(ctx context.Context, all []broker.Session, clean bool) error
}

// sums are what the rows of topics have in common with the books.
type sums struct {
	messages, unheard, copies uint64
	dropped                   [tally.Reasons]uint64
	ended                     [tally.Ends]uint64
}

func (s *sums) add(d *tally.Detail) {
	s.messages += d.Sum.Messages
	s.unheard += d.Sum.Unheard
	s.copies += d.Sum.Copies
	for i, n := range d.Dropped {
		s.dropped[i] += n
	}
	for i, n := range d.Ended {
		s.ended[i] += n
	}
}

// missing is what books have more than the rows; false when they have less of something.
func (s *sums) missing(l *tally.Lines) (d tally.Detail, ok bool) {
	less := func(lines, rows uint64) uint64 {
		ok = ok && lines >= rows
		return lines - rows
	}
	ok = true
	d.Sum.Messages, d.Sum.Unheard = less(l.Routed+l.Unheard, s.messages), less(l.Unheard, s.unheard)
	d.Sum.Copies = l.Copies - l.TakenBack - s.copies // what is taken back later may make it less
	for i, n := range s.dropped {
		d.Dropped[i] = less(l.Dropped[i], n)
	}
	for i, n := range s.ended {
		d.Ended[i] = less(l.Ended[i], n)
	}
	return d, ok
}

// loadRows has the broker go on with the counts of earlier runs, of which clean tells how the last one ended. What the books have and the rows have
// not is counted for tally.UnknownName, so that the sums are those of the books. A file that cannot be used is put aside.
func (l *Ledger) loadRows(ctx context.Context, clean bool) error {
	if l.o.Rows == nil || l.o.Dir == "" {
		return nil
	}
	sum := sums{}
	f, err := os.Open(filepath.Join(l.o.Dir, rowsName))
	if err == nil {
		sum, err = l.readRows(ctx, f, clean)
		f.Close()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		l.refuse(rowsName, "the counts by topic and by client", err)
		sum = sums{}
	}
	unknown, _ := sum.missing(&l.carried.Lines)
	if unknown == (tally.Detail{}) {
		return nil
	}
	topic := l.o.Rows.Names().Child(tally.Root, []byte(tally.UnknownName))
	return l.o.Rows.AddTopics(ctx, []broker.Counted{{Topic: topic, Detail: unknown}})
}

// readRows looks whether a file is whole, and then adds what is in it.
func (l *Ledger) readRows(ctx context.Context, f io.ReadSeeker, clean bool) (sums, error) {
	sum, since, err := checkRows(ctx, f)
	if err != nil {
		return sums{}, err
	}
	if since != l.carried.Since.UnixNano() {
		return sums{}, errors.New("it belongs to other books than " + fileName)
	}
	if _, ok := sum.missing(&l.carried.Lines); !ok {
		return sums{}, errors.New("it is newer than " + fileName)
	}
	if _, err := f.Seek(int64(headSize), io.SeekStart); err != nil {
		return sums{}, err
	}
	a := adder{rows: l.o.Rows, names: l.o.Rows.Names(), clean: clean, topics: []tally.Topic{0, tally.Root}}
	if err := eachRecord(bufio.NewReaderSize(f, 4*mostRecord), func(r *record) error { return a.add(ctx, r) }); err != nil {
		return sums{}, err
	}
	return sum, a.flush(ctx)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkRows reads a whole file and adds up what is in it. An error means that nothing in it is to be believed.
func checkRows(ctx context.Context, f io.ReadSeeker) (sum sums, since int64, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return sum, 0, err
	}
	if size < int64(headSize+1+crcSize) {
		return sum, 0, errShort
	}
	crc := crc32.New(castagnoli)
	in := bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, size-crcSize), crc), 4*mostRecord)
	head := make([]byte, headSize)
	if _, err := io.ReadFull(in, head); err != nil {
		return sum, 0, err
	}
	if since, err = checkHead(head); err != nil {
		return sum, 0, err
	}
	topics := uint64(tally.Root)
	n := 0
	err = eachRecord(in, func(r *record) error {
		if n++; n%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if r.kind == topicRecord {
			if r.back == 0 || r.back > topics {
				return errNumber
			}
			topics++
			sum.add(&r.topic)
		}
		return nil
	})
	if err != nil {
		return sum, 0, err
	}
	if rest, err := io.Copy(io.Discard, in); err != nil || rest > 0 {
		return sum, 0, errors.Join(errors.New("there is something behind the end"), err)
	}
	want := make([]byte, crcSize)
	if _, err := io.ReadFull(f, want); err != nil {
		return sum, 0, err
	}
	if crc.Sum32() != binary.LittleEndian.Uint32(want) {
		return sum, 0, errors.New("its checksum is wrong")
	}
	return sum, since, nil
}

// eachRecord gives each record up to the end; it is another one when each is back.
func eachRecord(in *bufio.Reader, each func(*record) error) error {
	var r record
	for {
		b, err := in.Peek(mostRecord)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		size, err := r.parse(b)
		if err == nil && r.kind != endRecord {
			err = each(&r)
		}
		if err != nil {
			return err
		}
		if _, err := in.Discard(size); err != nil || r.kind == endRecord {
			return err
		}
	}
}

// atOnce is how many records are added at a time.
const atOnce = 2048

// adder gives a broker what stands in records.
type adder struct {
	rows     Rows
	names    *tally.Names
	clean    bool
	topics   []tally.Topic // by their order in the file
	counted  []broker.Counted
	sessions []broker.Session
	heavy    [tally.Weights][]tally.Heavy
}

func (a *adder) add(ctx context.Context, r *record) error {
	switch r.kind {
	case topicRecord:
		branch := a.topics[uint64(len(a.topics))-r.back]
		var topic tally.Topic
		if r.rest {
			topic = a.names.Rest(branch)
		} else {
			topic = a.names.Child(branch, r.level)
		}
		a.topics = append(a.topics, topic)
		if r.topic != (tally.Detail{}) {
			a.counted = append(a.counted, broker.Counted{Topic: topic, Detail: r.topic})
		}
	case heavyRecord:
		a.heavy[r.by] = append(a.heavy[r.by], r.heavy)
	case sessionRecord:
		a.sessions = append(a.sessions, r.session)
	}
	if len(a.counted) < atOnce && len(a.sessions) < atOnce {
		return nil
	}
	return a.flush(ctx)
}

func (a *adder) flush(ctx context.Context) error {
	if err := a.rows.AddTopics(ctx, a.counted); err != nil {
		return err
	}
	if err := a.rows.AddSessions(ctx, a.sessions, a.clean); err != nil {
		return err
	}
	for by, names := range a.heavy {
		if len(names) == 0 {
			continue
		}
		if err := a.rows.AddHeavy(ctx, tally.Weight(by), names); err != nil {
			return err
		}
		a.heavy[by] = nil
	}
	a.counted, a.sessions = a.counted[:0], a.sessions[:0]
	return nil
}

// writeRows writes what is counted by topic and by client to a file of another name, which it returns.
func (l *Ledger) writeRows(ctx context.Context) (name string, size int64, err error) {
	f, err := os.CreateTemp(l.o.Dir, rowsName+".*")
	if err != nil {
		return "", 0, err
	}
	w := &rowsWriter{f: f, b: appendHead(nil, l.carried.Since.UnixNano(), time.Now().UnixMilli())}
	if err = w.all(ctx, l.o.Rows); err == nil {
		err = w.end()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), w.size, nil
}

// rowsWriter writes a file in parts.
type rowsWriter struct {
	f interface {
		io.Writer
		Sync() error
	}
	b      []byte
	crc    uint32
	size   int64
	synced int64
}

const (
	writtenAtOnce = 64 << 10
	syncedAtOnce  = 4 << 20 // so that the store, on the same disk, does not have to wait for all of it
)

func (w *rowsWriter) all(ctx context.Context, rows Rows) error {
	names := rows.Names()
	if err := rows.Topics(ctx, func(t tally.Topic, d *tally.Detail) error {
		w.b = appendTopic(w.b, uint64(t-names.Parent(t)), names.Level(t), names.IsRest(t), d)
		return w.full()
	}); err != nil {
		return err
	}
	heavy, err := rows.Heavy(ctx)
	if err != nil {
		return err
	}
	for by, list := range heavy {
		for _, h := range list {
			w.b = appendHeavy(w.b, tally.Weight(by), h)
			if err := w.full(); err != nil {
				return err
			}
		}
	}
	return rows.Sessions(ctx, func(s *broker.Session) error {
		w.b = appendSession(w.b, s)
		return w.full()
	})
}

// full writes when there is enough.
func (w *rowsWriter) full() error {
	if len(w.b) < writtenAtOnce {
		return nil
	}
	return w.flush()
}

func (w *rowsWriter) flush() error {
	w.crc = crc32.Update(w.crc, castagnoli, w.b)
	n, err := w.f.Write(w.b)
	w.size += int64(n)
	w.b = w.b[:0]
	if err == nil && w.size-w.synced >= syncedAtOnce {
		w.synced = w.size
		err = w.f.Sync()
	}
	return err
}

func (w *rowsWriter) end() error {
	w.b = append(w.b, endRecord)
	w.crc = crc32.Update(w.crc, castagnoli, w.b)
	n, err := w.f.Write(binary.LittleEndian.AppendUint32(w.b, w.crc))
	w.size += int64(n)
	if err != nil {
		return err
	}
	return w.f.Sync()
}
