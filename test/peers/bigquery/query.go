package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Answers to queries are cut into pages here; the emulator gives all at once.
// A job is known until this process ends.

type job struct {
	reference any
	schema    any
	rows      []any
}

func (p *peer) query(body []byte) answer {
	var request map[string]any
	if json.Unmarshal(body, &request) != nil {
		return fail(http.StatusBadRequest, "invalid", "not JSON")
	}
	if legacy, ok := request["useLegacySql"].(bool); !ok || legacy {
		return fail(http.StatusBadRequest, "invalidQuery", "legacy SQL, by default")
	}
	limit, _ := request["maxResults"].(float64)
	code, out := p.engine.query(p.store, request)
	if code != http.StatusOK {
		return fail(http.StatusBadRequest, "invalidQuery", "%.2000s", out)
	}
	var full map[string]any
	if err := json.Unmarshal(out, &full); err != nil {
		return fail(http.StatusInternalServerError, "internalError", "%v", err)
	}
	rows, _ := full["rows"].([]any)
	j := &job{full["jobReference"], full["schema"], rows}
	p.engine.mu.Lock()
	if p.engine.jobs == nil {
		p.engine.jobs = map[string]*job{}
	}
	p.engine.jobs[text(dig(full, "jobReference", "jobId"))] = j
	p.engine.mu.Unlock()
	if err := p.faults.find("query", "incomplete"); err != nil {
		return answer{http.StatusOK, map[string]any{"jobComplete": false, "jobReference": j.reference}}
	}
	return j.page(0, int(limit))
}

func (p *peer) queryResults(id string, r *http.Request) answer {
	p.engine.mu.Lock()
	j := p.engine.jobs[id]
	p.engine.mu.Unlock()
	if j == nil {
		return fail(http.StatusNotFound, "notFound", "Not found: Job %s", id)
	}
	begin, _ := strconv.Atoi(r.URL.Query().Get("pageToken"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("maxResults"))
	return j.page(begin, limit)
}

func (j *job) page(begin, limit int) answer {
	end := len(j.rows)
	if limit > 0 {
		end = min(end, begin+limit)
	}
	out := map[string]any{"jobComplete": true, "jobReference": j.reference,
		"schema": j.schema, "totalRows": fmt.Sprint(len(j.rows)),
		"rows": j.rows[begin:end]}
	if end < len(j.rows) {
		out["pageToken"] = strconv.Itoa(end)
	}
	return answer{http.StatusOK, out}
}
