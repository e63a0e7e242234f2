package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answers of REST.  Tables and insertAll are the double's own, since the
// emulator does not change a table and takes any row; SQL is the emulator's.

type answer struct {
	status int
	body   any
}

func fail(status int, reason, format string, args ...any) answer {
	words := fmt.Sprintf(format, args...)
	return answer{status, map[string]any{"error": map[string]any{
		"code": status, "message": words, "status": strings.ToUpper(reason),
		"errors": []any{map[string]any{
			"reason": reason, "message": words, "domain": "global"}}}}}
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		p.send(w, fail(http.StatusRequestEntityTooLarge, "invalid", "request too large"))
		return
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/_"):
		p.send(w, p.admin(r, body))
	case r.URL.Path == "/token" || strings.HasPrefix(r.URL.Path, "/computeMetadata/"):
		p.token(w, r, body)
	case strings.HasPrefix(r.URL.Path, "/bigquery/v2/projects/"):
		if !p.tokens.allowed(r.Header.Get("Authorization")) {
			p.send(w, fail(http.StatusUnauthorized, "authError",
				"Request had invalid authentication credentials"))
			return
		}
		p.rest(w, r, body)
	default:
		p.send(w, fail(http.StatusNotFound, "notFound", "no such path"))
	}
}

func (p *peer) send(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(a.status)
	if a.body != nil {
		json.NewEncoder(w).Encode(a.body)
	}
}

func (p *peer) rest(w http.ResponseWriter, r *http.Request, body []byte) {
	name, work := p.route(r, body)
	drop := func() { panic(http.ErrAbortHandler) }
	note := map[string]any{"path": r.URL.Path}
	if err := p.faults.meet(r.Context(), name, "before", drop); err != nil {
		p.journal.add(name, note, err)
		p.send(w, faultAnswer(err))
		return
	}
	a := work()
	note["status"] = a.status
	p.journal.add(name, note, nil)
	if err := p.faults.meet(r.Context(), name, "after", drop); err != nil {
		p.send(w, faultAnswer(err))
		return
	}
	p.send(w, a)
}

func faultAnswer(err error) answer {
	if h, ok := err.(*httpError); ok {
		if h.reason == "" {
			return answer{h.status, nil}
		}
		return fail(h.status, h.reason, "planned")
	}
	return fail(http.StatusServiceUnavailable, "backendError", "planned")
}

// The call's name for faults and journal, and what it does.
func (p *peer) route(r *http.Request, body []byte) (string, func() answer) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/bigquery/v2/projects/"), "/")
	is := func(method string, pattern ...string) bool {
		if r.Method != method || len(pattern) != len(parts)-1 {
			return false
		}
		for i, want := range pattern {
			if want != "*" && want != parts[i+1] {
				return false
			}
		}
		return true
	}
	key := ""
	if len(parts) >= 5 {
		key = parts[0] + "/" + parts[2] + "/" + parts[4]
	}
	switch {
	case is("GET", "datasets", "*"):
		return "datasetsGet", func() answer { return p.getDataset(parts[0], parts[2]) }
	case is("POST", "datasets", "*", "tables"):
		return "tablesInsert", func() answer { return p.insertTable(parts[0], parts[2], body) }
	case is("GET", "datasets", "*", "tables", "*"):
		return "tablesGet", func() answer { return p.getTable(key) }
	case is("PATCH", "datasets", "*", "tables", "*"):
		return "tablesPatch", func() answer { return p.patchTable(key, r.Header.Get("If-Match"), body) }
	case is("DELETE", "datasets", "*", "tables", "*"):
		return "tablesDelete", func() answer { return p.deleteTable(key) }
	case is("POST", "datasets", "*", "tables", "*", "insertAll"):
		return "insertAll", func() answer { return p.insertAll(key, body) }
	case is("POST", "queries"):
		return "query", func() answer { return p.query(body) }
	case is("GET", "queries", "*"):
		return "queryResults", func() answer { return p.queryResults(parts[2], r) }
	}
	return "unknown", func() answer {
		return fail(http.StatusNotFound, "notFound", "%s %s", r.Method, r.URL.Path)
	}
}

func (p *peer) knownDataset(project, dataset string) bool {
	return project == p.config.project && dataset == p.config.dataset
}

func (p *peer) getDataset(project, dataset string) answer {
	if !p.knownDataset(project, dataset) {
		return fail(http.StatusNotFound, "notFound", "Not found: Dataset %s:%s", project, dataset)
	}
	return answer{http.StatusOK, map[string]any{"kind": "bigquery#dataset",
		"datasetReference": map[string]any{"projectId": project, "datasetId": dataset}}}
}

func (t *table) resource() map[string]any {
	out := map[string]any{"kind": "bigquery#table", "type": "TABLE",
		"etag": t.etag(), "numRows": strconv.Itoa(len(t.rows))}
	for k, v := range t.meta {
		out[k] = v
	}
	return out
}

func (p *peer) insertTable(project, dataset string, body []byte) answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	var meta map[string]any
	if json.Unmarshal(body, &meta) != nil {
		return fail(http.StatusBadRequest, "invalid", "not JSON")
	}
	if !p.knownDataset(project, dataset) {
		return fail(http.StatusNotFound, "notFound", "Not found: Dataset %s:%s", project, dataset)
	}
	name := text(dig(meta, "tableReference", "tableId"))
	key := project + "/" + dataset + "/" + name
	if s.tables[key] != nil {
		return fail(http.StatusConflict, "duplicate", "Already Exists: Table %s", key)
	}
	if why := checkMeta(meta); why != "" {
		return fail(http.StatusBadRequest, "invalid", "%s", why)
	}
	return p.keepTable(key, meta)
}

func (p *peer) keepTable(key string, meta map[string]any) answer {
	raw, _ := json.Marshal(meta)
	if err := p.store.commit(&record{Kind: "table", Table: key, Meta: raw}); err != nil {
		return fail(http.StatusInternalServerError, "internalError", "%v", err)
	}
	return answer{http.StatusOK, p.store.tables[key].resource()}
}

// Partitioning and clustering by columns that are there and may be used so.
func checkMeta(meta map[string]any) string {
	kinds := map[string]string{}
	fields, _ := dig(meta, "schema", "fields").([]any)
	for _, f := range fields {
		name := text(dig(f, "name"))
		if name == "" || kinds[name] != "" {
			return "field without a name, or twice: " + name
		}
		kinds[name] = canonicalType(text(dig(f, "type")))
		if _, ok := protoTypes[kinds[name]]; !ok {
			return "type " + kinds[name] + " of field " + name
		}
	}
	if by := text(dig(meta, "timePartitioning", "field")); by != "" && kinds[by] != "TIMESTAMP" {
		return "partitioning by " + by
	}
	if e := dig(meta, "timePartitioning", "expirationMs"); e != nil && text(e) == "" {
		return "expirationMs is not an int64 in a string"
	}
	clustering, _ := dig(meta, "clustering", "fields").([]any)
	if len(clustering) > 4 {
		return "clustering by more than four fields"
	}
	for _, by := range clustering {
		if kind := kinds[text(by)]; kind == "" || kind == "JSON" || kind == "FLOAT64" {
			return "clustering by " + text(by)
		}
	}
	labels, _ := meta["labels"].(map[string]any)
	for k, v := range labels {
		if k != strings.ToLower(k) || len(k) > 63 || text(v) != strings.ToLower(text(v)) || len(text(v)) > 63 {
			return "label " + k
		}
	}
	return ""
}

func (p *peer) getTable(key string) answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables[key] == nil {
		return fail(http.StatusNotFound, "notFound", "Not found: Table %s", key)
	}
	return answer{http.StatusOK, s.tables[key].resource()}
}

// Members are replaced, labels merged; of the schema nothing may go.
func (p *peer) patchTable(key, etag string, body []byte) answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[key]
	if t == nil {
		return fail(http.StatusNotFound, "notFound", "Not found: Table %s", key)
	}
	if etag != "" && etag != t.etag() {
		return fail(http.StatusPreconditionFailed, "conditionNotMet", "Precondition check failed.")
	}
	var change map[string]any
	if json.Unmarshal(body, &change) != nil {
		return fail(http.StatusBadRequest, "invalid", "not JSON")
	}
	meta := map[string]any{}
	for k, v := range t.meta {
		meta[k] = v
	}
	for k, v := range change {
		meta[k] = v
	}
	if labels, ok := change["labels"].(map[string]any); ok {
		merged := map[string]any{}
		old, _ := t.meta["labels"].(map[string]any)
		for k, v := range old {
			merged[k] = v
		}
		for k, v := range labels {
			merged[k] = v
		}
		meta["labels"] = merged
	}
	if why := checkSchemaChange(t, meta); why != "" {
		return fail(http.StatusBadRequest, "invalid", "Provided Schema does not match Table %s. %s", key, why)
	}
	if why := checkMeta(meta); why != "" {
		return fail(http.StatusBadRequest, "invalid", "%s", why)
	}
	return p.keepTable(key, meta)
}

func checkSchemaChange(t *table, meta map[string]any) string {
	kept := map[string]bool{}
	fields, _ := dig(meta, "schema", "fields").([]any)
	for _, f := range fields {
		name, mode := text(dig(f, "name")), text(dig(f, "mode"))
		c, old := t.columns[name]
		kept[name] = true
		switch {
		case !old && mode == "REQUIRED":
			return "Cannot add required fields to an existing schema. (field: " + name + ")"
		case old && c.kind != canonicalType(text(dig(f, "type"))):
			return "Field " + name + " has changed type"
		case old && c.mode != "REQUIRED" && mode == "REQUIRED":
			return "Field " + name + " has changed mode"
		}
	}
	for name := range t.columns {
		if !kept[name] {
			return "Field " + name + " is missing in new schema"
		}
	}
	return ""
}

func (p *peer) deleteTable(key string) answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables[key] == nil {
		return fail(http.StatusNotFound, "notFound", "Not found: Table %s", key)
	}
	if err := s.commit(&record{Kind: "drop", Table: key}); err != nil {
		return fail(http.StatusInternalServerError, "internalError", "%v", err)
	}
	return answer{http.StatusNoContent, nil}
}

// One row that is wrong keeps all of them out.  insertId is not looked at:
// that is what BigQuery may do.
func (p *peer) insertAll(key string, body []byte) answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[key]
	if t == nil {
		return fail(http.StatusNotFound, "notFound", "Not found: Table %s", key)
	}
	var in struct {
		Rows []struct {
			InsertID string         `json:"insertId"`
			JSON     map[string]any `json:"json"`
		} `json:"rows"`
		SkipInvalidRows bool `json:"skipInvalidRows"`
	}
	if json.Unmarshal(body, &in) != nil || len(in.Rows) == 0 || in.SkipInvalidRows {
		return fail(http.StatusBadRequest, "invalid", "not rows")
	}
	if len(in.Rows) > 50000 {
		return fail(http.StatusBadRequest, "invalid", "too many rows")
	}
	rows := []map[string]any{}
	errors := []any{}
	bad := false
	for i, r := range in.Rows {
		values, column, why := t.rowOfJSON(r.JSON)
		if why == "" {
			if why = t.checkRow(values, time.Now()); why == "" && p.faults.isPoison(t, values) {
				column, why = "metadata", "not to our taste"
			}
		}
		reason := "stopped"
		if why != "" {
			reason, bad = "invalid", true
		}
		errors = append(errors, map[string]any{"index": i, "errors": []any{map[string]any{
			"reason": reason, "location": column, "message": why}}})
		rows = append(rows, r.JSON)
	}
	if bad {
		return answer{http.StatusOK, map[string]any{"insertErrors": errors}}
	}
	data, _ := json.Marshal(rows)
	if err := s.commit(&record{Kind: "insert", Table: key, data: data}); err != nil {
		return fail(http.StatusInternalServerError, "internalError", "%v", err)
	}
	return answer{http.StatusOK, map[string]any{"kind": "bigquery#tableDataInsertAllResponse"}}
}

// As checkRow wants the values; or the column that is wrong, and why.
func (t *table) rowOfJSON(in map[string]any) (map[string]any, string, string) {
	out := map[string]any{}
	for name, v := range in {
		c, ok := t.columns[name]
		if !ok {
			return nil, name, "no such field: " + name
		}
		switch c.kind {
		case "INT64":
			i, err := strconv.ParseInt(text(v), 10, 64)
			if err != nil {
				return nil, name, "not an integer"
			}
			v = i
		case "TIMESTAMP":
			whole, part, _ := strings.Cut(text(v), ".")
			s, err := strconv.ParseInt(whole, 10, 64)
			us, err2 := strconv.ParseInt((part + "000000")[:6], 10, 64)
			if err != nil || err2 != nil {
				return nil, name, "not a timestamp"
			}
			if strings.HasPrefix(whole, "-") {
				us = -us
			}
			v = s*1_000_000 + us
			in[name] = time.UnixMicro(v.(int64)).UTC().Format("2006-01-02T15:04:05.000000Z")
		}
		out[name] = v
	}
	return out, "", ""
}
