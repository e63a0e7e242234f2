package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// The store holds tables and streams.  Its truth is a log to which each change
// is appended before it is acknowledged, so that it survives a SIGKILL of this
// process; memory is made from it at start.
type store struct {
	mu      sync.Mutex
	config  *config
	log     *os.File
	tables  map[string]*table
	streams map[string]*stream
	serial  int64
}

type table struct {
	name    string
	meta    map[string]any // the Table resource, as it was told
	version int64          // of its etag
	born    int64          // which of the tables of this name it is
	columns map[string]column
	rows    []row // those that can be seen
}

type column struct {
	name, kind, mode string
}

// A row is either encoded, with the descriptor that says how, or JSON.
type row struct {
	schema *schema
	bytes  []byte
	values map[string]any
}

type stream struct {
	name      string
	table     *table
	kind      string // COMMITTED, PENDING, BUFFERED
	rows      []row
	finalized bool
	committed time.Time
	flushed   int64
	created   time.Time
}

// A record is a change: what it says, and rows as they came.
type record struct {
	Kind   string          `json:"kind"`
	Table  string          `json:"table,omitempty"`
	Stream string          `json:"stream,omitempty"`
	Type   string          `json:"type,omitempty"`
	Meta   json.RawMessage `json:"meta,omitempty"`
	Offset int64           `json:"offset,omitempty"`
	Time   time.Time       `json:"time"`
	Names  []string        `json:"names,omitempty"`
	data   []byte
}

func openStore(name string, c *config) (*store, error) {
	s := &store{config: c, tables: map[string]*table{},
		streams: map[string]*stream{}}
	if f, err := os.Open(name); err == nil {
		good, err := readLog(bufio.NewReaderSize(f, 1<<20), s.apply)
		f.Close()
		if err != nil {
			return nil, err
		}
		if err := os.Truncate(name, good); err != nil {
			return nil, err
		}
	}
	var err error
	s.log, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return s, err
}

// Returns how far the log is whole: a record that was cut off was not
// acknowledged.
func readLog(in *bufio.Reader, apply func(*record) error) (int64, error) {
	var good int64
	for {
		var lengths [8]byte
		if _, err := io.ReadFull(in, lengths[:]); err != nil {
			return good, nil
		}
		head := make([]byte, binary.BigEndian.Uint32(lengths[:4]))
		data := make([]byte, binary.BigEndian.Uint32(lengths[4:]))
		if _, err := io.ReadFull(in, head); err != nil {
			return good, nil
		}
		if _, err := io.ReadFull(in, data); err != nil {
			return good, nil
		}
		var r record
		if err := json.Unmarshal(head, &r); err != nil {
			return good, err
		}
		r.data = data
		if err := apply(&r); err != nil {
			return good, err
		}
		good += int64(8 + len(head) + len(data))
	}
}

// Makes a change durable, then visible.
func (s *store) commit(r *record) error {
	r.Time = time.Now().UTC()
	head, err := json.Marshal(r)
	if err != nil {
		return err
	}
	out := make([]byte, 8, 8+len(head)+len(r.data))
	binary.BigEndian.PutUint32(out[:4], uint32(len(head)))
	binary.BigEndian.PutUint32(out[4:], uint32(len(r.data)))
	out = append(append(out, head...), r.data...)
	if _, err := s.log.Write(out); err != nil {
		return err
	}
	return s.apply(r)
}

func (s *store) apply(r *record) error {
	switch r.Kind {
	case "table":
		return s.applyTable(r)
	case "drop":
		s.applyDrop(r.Table)
	case "stream":
		s.serial++
		s.streams[r.Stream] = &stream{name: r.Stream, table: s.tables[r.Table],
			kind: r.Type, created: r.Time}
	case "append":
		return s.applyAppend(r)
	case "insert":
		return s.applyInsert(r)
	case "delete":
		s.applyDelete(s.tables[r.Table], r.Names)
	case "finalize":
		s.streams[r.Stream].finalized = true
	case "flush":
		s.applyFlush(s.streams[r.Stream], r.Offset)
	case "commit":
		for _, name := range r.Names {
			st := s.streams[name]
			st.committed = r.Time
			st.table.rows = append(st.table.rows, st.rows...)
		}
	default:
		return fmt.Errorf("record of kind %q", r.Kind)
	}
	return nil
}

// A table that is made, or whose description changes.
func (s *store) applyTable(r *record) error {
	t := s.tables[r.Table]
	if t == nil {
		s.serial++
		t = &table{name: r.Table, born: s.serial}
		s.tables[r.Table] = t
	}
	t.meta = map[string]any{}
	if err := json.Unmarshal(r.Meta, &t.meta); err != nil {
		return err
	}
	t.version++
	t.columns = map[string]column{}
	fields, _ := dig(t.meta, "schema", "fields").([]any)
	for _, f := range fields {
		c := column{name: text(dig(f, "name")),
			kind: canonicalType(text(dig(f, "type"))),
			mode: text(dig(f, "mode"))}
		t.columns[c.name] = c
	}
	return nil
}

func (s *store) applyDrop(name string) {
	t := s.tables[name]
	delete(s.tables, name)
	for streamName, st := range s.streams {
		if st.table == t {
			delete(s.streams, streamName)
		}
	}
}

func (s *store) applyAppend(r *record) error {
	schema, rows, err := decodeAppend(r.data)
	if err != nil {
		return err
	}
	added := make([]row, len(rows))
	for i, b := range rows {
		added[i] = row{schema: schema, bytes: b}
	}
	if r.Stream == "" {
		t := s.tables[r.Table]
		t.rows = append(t.rows, added...)
		return nil
	}
	st := s.streams[r.Stream]
	st.rows = append(st.rows, added...)
	if st.kind == "COMMITTED" {
		st.table.rows = append(st.table.rows, added...)
	}
	return nil
}

func (s *store) applyInsert(r *record) error {
	var rows []map[string]any
	if err := json.Unmarshal(r.data, &rows); err != nil {
		return err
	}
	t := s.tables[r.Table]
	for _, values := range rows {
		t.rows = append(t.rows, row{values: values})
	}
	return nil
}

// What was made of the table is made anew: it is another one.
func (s *store) applyDelete(t *table, ids []string) {
	gone := map[string]bool{}
	for _, id := range ids {
		gone[id] = true
	}
	kept := []row{}
	for i := range t.rows {
		if !gone[text(t.rows[i].json(t)["event_id"])] {
			kept = append(kept, t.rows[i])
		}
	}
	t.rows = kept
	s.serial++
	t.born = s.serial
}

func (s *store) applyFlush(st *stream, offset int64) {
	if offset >= st.flushed {
		st.table.rows = append(st.table.rows, st.rows[st.flushed:offset+1]...)
		st.flushed = offset + 1
	}
}

func (t *table) etag() string {
	return strconv.FormatInt(t.born, 36) + "." + strconv.FormatInt(t.version, 36)
}

// When the table is partitioned by time; and by which column.
func (t *table) partition() (column string, ok bool) {
	p, ok := t.meta["timePartitioning"].(map[string]any)
	if !ok {
		return "", false
	}
	return text(p["field"]), true
}

func canonicalType(kind string) string {
	switch kind {
	case "INTEGER":
		return "INT64"
	case "FLOAT":
		return "FLOAT64"
	case "BOOLEAN":
		return "BOOL"
	}
	return kind
}

// Small helpers on decoded JSON.

func dig(v any, path ...string) any {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
