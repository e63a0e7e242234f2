package main

import (
	"encoding/json"
	"net/http"
)

// What tests ask the double itself.
func (p *peer) admin(r *http.Request, body []byte) answer {
	ok := answer{http.StatusOK, map[string]any{}}
	switch r.Method + " " + r.URL.Path {
	case "POST /_faults":
		var one fault
		if err := json.Unmarshal(body, &one); err != nil {
			return fail(http.StatusBadRequest, "invalid", "%v", err)
		}
		return answer{http.StatusOK, map[string]any{"id": p.faults.add(&one)}}
	case "DELETE /_faults":
		p.faults.clear()
		return ok
	case "GET /_faults":
		return answer{http.StatusOK, p.faults.list()}
	case "POST /_poison":
		var values []string
		if err := json.Unmarshal(body, &values); err != nil {
			return fail(http.StatusBadRequest, "invalid", "%v", err)
		}
		p.faults.setPoison(r.URL.Query().Get("table"), values)
		return ok
	case "POST /_delete":
		var ids []string
		if err := json.Unmarshal(body, &ids); err != nil {
			return fail(http.StatusBadRequest, "invalid", "%v", err)
		}
		return p.deleteRows(r.URL.Query().Get("table"), ids)
	case "GET /_journal":
		p.journal.mu.Lock()
		defer p.journal.mu.Unlock()
		return answer{http.StatusOK, append([]map[string]any{}, p.journal.list...)}
	case "POST /_revoke":
		p.tokens.revoke()
		return ok
	case "GET /_tokens":
		p.tokens.mu.Lock()
		defer p.tokens.mu.Unlock()
		return answer{http.StatusOK, map[string]any{"by": p.tokens.by, "refused": p.tokens.refused}}
	case "GET /_rows":
		return p.rows(r.URL.Query().Get("table"))
	case "GET /_streams":
		return p.streams()
	}
	return fail(http.StatusNotFound, "notFound", "%s %s", r.Method, r.URL.Path)
}

// As if somebody had deleted them.
func (p *peer) deleteRows(name string, ids []string) answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	key := p.config.project + "/" + p.config.dataset + "/" + name
	if s.tables[key] == nil {
		return fail(http.StatusNotFound, "notFound", "no table %s", name)
	}
	if err := s.commit(&record{Kind: "delete", Table: key, Names: ids}); err != nil {
		return fail(http.StatusInternalServerError, "internalError", "%v", err)
	}
	return answer{http.StatusOK, map[string]any{}}
}

// The rows that can be seen, without the emulator in between.
func (p *peer) rows(name string) answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[p.config.project+"/"+p.config.dataset+"/"+name]
	if t == nil {
		return fail(http.StatusNotFound, "notFound", "no table %s", name)
	}
	out := []any{}
	for i := range t.rows {
		out = append(out, t.rows[i].json(t))
	}
	return answer{http.StatusOK, out}
}

func (p *peer) streams() answer {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []any{}
	for _, st := range s.streams {
		out = append(out, map[string]any{"name": st.name, "type": st.kind,
			"rows": len(st.rows), "finalized": st.finalized,
			"committed": !st.committed.IsZero()})
	}
	return answer{http.StatusOK, out}
}
