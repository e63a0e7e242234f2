package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A fault is planned for the nth call of a name from now on, and the times - 1
// after it; before the call does anything, or after it has done all.
type fault struct {
	ID      int    `json:"id"`
	Call    string `json:"call"`
	Point   string `json:"point"`
	Action  string `json:"action"` // status, in_band, http, drop, kill, hang
	Nth     int    `json:"nth"`
	Times   int    `json:"times"`
	Code    int    `json:"code"`
	Storage int    `json:"storage"`
	Status  int    `json:"status"`
	Reason  string `json:"reason"`
	Met     int    `json:"met"`
	Hanging int    `json:"hanging"`
	seen    int
	release chan struct{}
}

type faults struct {
	mu     sync.Mutex
	last   int
	plan   []*fault
	poison map[string]map[string]bool // by table; "": of any
}

// An error that belongs into the answer of an append.
type inBandError struct{ error }

// An answer of REST.
type httpError struct {
	status int
	reason string
}

func (e *httpError) Error() string { return e.reason }

func newFaults() *faults { return &faults{poison: map[string]map[string]bool{}} }

func (f *faults) add(one *fault) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	one.ID = f.last
	one.Nth = max(one.Nth, 1)
	one.Times = max(one.Times, 1)
	if one.Point == "" {
		one.Point = "before"
	}
	one.release = make(chan struct{})
	f.plan = append(f.plan, one)
	return one.ID
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.plan {
		close(one.release)
	}
	f.plan = nil
	delete(f.poison, "")
}

func (f *faults) list() []fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []fault{}
	for _, one := range f.plan {
		out = append(out, *one)
	}
	return out
}

// A row is refused for its event_id or its model.
func (f *faults) isPoison(t *table, values map[string]any) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range []string{"", t.name[strings.LastIndexByte(t.name, '/')+1:]} {
		bad := f.poison[name]
		if bad[text(values["event_id"])] || bad[text(values["model"])] {
			return true
		}
	}
	return false
}

// Besides those of the table that are refused already.
func (f *faults) setPoison(table string, values []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.poison[table] == nil {
		f.poison[table] = map[string]bool{}
	}
	for _, value := range values {
		f.poison[table][value] = true
	}
}

func (f *faults) find(call, point string) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.plan {
		if one.Call != call || one.Point != point {
			continue
		}
		one.seen++
		if one.seen >= one.Nth && one.seen < one.Nth+one.Times {
			one.Met++
			return one
		}
	}
	return nil
}

// meet does what is planned; an error is to be answered in place of the call.
func (f *faults) meet(ctx context.Context, call, point string, drop func()) error {
	one := f.find(call, point)
	if one == nil {
		return nil
	}
	switch one.Action {
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "hang":
		f.count(one, 1)
		defer f.count(one, -1)
		select {
		case <-one.release:
			return nil
		case <-ctx.Done():
			return status.Error(codes.Canceled, "gone")
		}
	case "drop":
		drop()
		return status.Error(codes.Unavailable, "dropped")
	case "http":
		return &httpError{one.Status, one.Reason}
	}
	err := status.Error(codes.Code(one.Code), "planned")
	if one.Storage != 0 {
		err = storageError(codes.Code(one.Code),
			storagepb.StorageError_StorageErrorCode(one.Storage), "", "planned")
	}
	if one.Action == "in_band" {
		return &inBandError{err}
	}
	return err
}

func (f *faults) count(one *fault, by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one.Hanging += by
}

// The journal says what each call did; it is kept over restarts.
type journal struct {
	mu   sync.Mutex
	file *os.File
	list []map[string]any
}

func openJournal(name string) (*journal, error) {
	j := &journal{list: []map[string]any{}}
	if f, err := os.Open(name); err == nil {
		in := bufio.NewScanner(f)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			var line map[string]any
			if json.Unmarshal(in.Bytes(), &line) == nil {
				j.list = append(j.list, line)
			}
		}
		f.Close()
	}
	var err error
	j.file, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return j, err
}

func (j *journal) add(call string, note map[string]any, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := map[string]any{"call": call, "time": time.Now().UTC()}
	for k, v := range note {
		line[k] = v
	}
	if err != nil {
		line["error"] = err.Error()
	}
	j.list = append(j.list, line)
	if b, err := json.Marshal(line); err == nil {
		j.file.Write(append(b, '\n'))
	}
}

// Connections by their other end, so that a call's own can be broken.
type connections struct {
	mu   sync.Mutex
	open map[string]net.Conn
}

func newConnections() *connections {
	return &connections{open: map[string]net.Conn{}}
}

type listener struct {
	net.Listener
	conns *connections
}

func (c *connections) listener(l net.Listener) net.Listener {
	return &listener{l, c}
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.conns.mu.Lock()
		l.conns.open[conn.RemoteAddr().String()] = conn
		l.conns.mu.Unlock()
		conn = &tracked{conn, l.conns}
	}
	return conn, err
}

type tracked struct {
	net.Conn
	conns *connections
}

func (t *tracked) Close() error {
	t.conns.mu.Lock()
	delete(t.conns.open, t.RemoteAddr().String())
	t.conns.mu.Unlock()
	return t.Conn.Close()
}

// Ends the call's connection by a reset.
func (c *connections) drop(ctx context.Context) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return
	}
	c.mu.Lock()
	conn := c.open[p.Addr.String()]
	c.mu.Unlock()
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
		tcp.Close()
	}
}
