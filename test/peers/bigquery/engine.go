package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/goccy/bigquery-emulator/server"
)

// The engine answers SQL: the public emulator, within this process, filled
// with what the store's tables hold before each query.  It keeps nothing.
type engine struct {
	mu      sync.Mutex
	config  *config
	handler http.Handler
	loaded  map[string]*loadedTable
	jobs    map[string]*job
	ids     map[string]*ids
	serial  int64
}

type loadedTable struct {
	born, version int64
	rows          int
}

const loadAtOnce = 500

func newEngine(c *config) (*engine, error) {
	s, err := server.New(server.MemoryStorage)
	if err != nil {
		return nil, err
	}
	if err := s.SetProject(c.project); err != nil {
		return nil, err
	}
	s.TestServer() // its handlers want an address of their own
	e := &engine{config: c, handler: s.Handler, loaded: map[string]*loadedTable{},
		ids: map[string]*ids{}}
	code, body := e.do("POST", "/projects/"+c.project+"/datasets",
		map[string]any{"datasetReference": map[string]any{
			"projectId": c.project, "datasetId": c.dataset}})
	if code != http.StatusOK {
		return nil, fmt.Errorf("emulator: %s", body)
	}
	return e, nil
}

func (e *engine) do(method, path string, body any) (int, []byte) {
	var in bytes.Buffer
	if body != nil {
		json.NewEncoder(&in).Encode(body)
	}
	r := httptest.NewRequest(method, "/bigquery/v2"+path, &in)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

// Runs jobs.query with everything in place; the answer is the emulator's.
func (e *engine) query(s *store, request map[string]any) (int, []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if code, out, ok := e.lookUp(s, request); ok {
		return code, out
	}
	if err := e.load(s, text(request["query"])); err != nil {
		return http.StatusInternalServerError, []byte(err.Error())
	}
	delete(request, "maxResults")
	return e.do("POST", "/projects/"+e.config.project+"/queries", request)
}

// Only what the query names: the fewer tables the emulator knows, the faster
// it is.
func (e *engine) load(s *store, sql string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range e.loaded {
		t := s.tables[key]
		if t != nil && t.born == l.born && t.version == l.version {
			continue
		}
		if code, body := e.do("DELETE", e.path(key), nil); code >= 300 {
			return fmt.Errorf("emulator: %s", body)
		}
		delete(e.loaded, key)
	}
	for key, t := range s.tables {
		if !strings.Contains(sql, strings.ReplaceAll(key, "/", ".")) {
			continue
		}
		if err := e.loadTable(key, t); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) loadTable(key string, t *table) error {
	l := e.loaded[key]
	if l == nil {
		meta := map[string]any{"tableReference": t.meta["tableReference"],
			"schema": t.meta["schema"]}
		code, body := e.do("POST", "/projects/"+e.config.project+"/datasets/"+
			e.config.dataset+"/tables", meta)
		if code >= 300 {
			return fmt.Errorf("emulator: %s", body)
		}
		l = &loadedTable{born: t.born, version: t.version}
		e.loaded[key] = l
	}
	for l.rows < len(t.rows) {
		end := min(l.rows+loadAtOnce, len(t.rows))
		rows := []any{}
		for i := l.rows; i < end; i++ {
			rows = append(rows, map[string]any{"json": t.rows[i].json(t)})
		}
		code, body := e.do("POST", e.path(key)+"/insertAll",
			map[string]any{"rows": rows})
		if code >= 300 || bytes.Contains(body, []byte(`"insertErrors":[{`)) {
			return fmt.Errorf("emulator: %d %s", code, body)
		}
		l.rows = end
	}
	return nil
}

func (e *engine) path(key string) string {
	var p, d, t string
	for i, part := range bytes.Split([]byte(key), []byte("/")) {
		*[]*string{&p, &d, &t}[i] = string(part)
	}
	return "/projects/" + p + "/datasets/" + d + "/tables/" + t
}
