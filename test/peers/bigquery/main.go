// A strict double of BigQuery for tests: see README.md.
//
//	bigquery-peer --data DIR --project P --dataset D [OPTION...]
//	bigquery-peer bench-client --grpc HOST:PORT --table NAME
//
// Prints nothing; DIR/ports holds "<REST port> <gRPC port>" once it answers.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// BigQuery takes requests of 10 MB.
const maxRequest = 10 << 20

type config struct {
	data, project, dataset string
	restPort, grpcPort     int
	tlsCert, tlsKey        string
	serviceKey             string
	requireToken           bool
	ownLookUps             bool
	tokenSeconds           int
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "bench-client" {
		benchClient(os.Args[2:])
		return
	}
	var c config
	flag.StringVar(&c.data, "data", "", "directory of what is kept over a restart")
	flag.StringVar(&c.project, "project", "p", "the only project")
	flag.StringVar(&c.dataset, "dataset", "d", "its dataset")
	flag.IntVar(&c.restPort, "port", 0, "of REST, 0: any")
	flag.IntVar(&c.grpcPort, "grpc-port", 0, "of the Storage Write API, 0: any")
	flag.StringVar(&c.tlsCert, "tls-cert", "", "file; both interfaces speak TLS")
	flag.StringVar(&c.tlsKey, "tls-key", "", "file")
	flag.StringVar(&c.serviceKey, "service-key", "",
		"key file of the service account that may ask for tokens")
	flag.BoolVar(&c.requireToken, "require-token", false,
		"refuse requests without a token")
	flag.BoolVar(&c.ownLookUps, "own-look-ups", false,
		"answer look-ups by event id without the emulator")
	flag.IntVar(&c.tokenSeconds, "token-seconds", 3600, "a token's life")
	flag.Parse()
	if err := serve(&c); err != nil {
		log.Fatal(err)
	}
}

// A peer is all of the double; its parts lock for themselves.
type peer struct {
	config  *config
	store   *store
	faults  *faults
	journal *journal
	tokens  *tokens
	engine  *engine
	conns   *connections
}

func newPeer(c *config) (*peer, error) {
	p := &peer{config: c, faults: newFaults(), conns: newConnections()}
	var err error
	if p.store, err = openStore(filepath.Join(c.data, "log"), c); err != nil {
		return nil, err
	}
	if p.journal, err = openJournal(filepath.Join(c.data, "journal")); err != nil {
		return nil, err
	}
	if p.tokens, err = newTokens(c); err != nil {
		return nil, err
	}
	p.engine, err = newEngine(c)
	return p, err
}

func serve(c *config) error {
	p, err := newPeer(c)
	if err != nil {
		return err
	}
	rest, err := listen(c, c.restPort, "http/1.1")
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.grpcPort))
	if err != nil {
		return err
	}
	g := p.grpcServer()
	go func() { log.Fatal(g.Serve(p.conns.listener(plain))) }()
	go func() { log.Fatal((&http.Server{Handler: p}).Serve(rest)) }()
	if err := p.writePorts(rest, plain); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	return nil
}

func (p *peer) grpcServer() *grpc.Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.UnaryInterceptor(p.authorizeUnary),
		grpc.StreamInterceptor(p.authorizeStream),
	}
	if c := p.config; c.tlsCert != "" {
		creds, err := credentials.NewServerTLSFromFile(c.tlsCert, c.tlsKey)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(creds))
	}
	g := grpc.NewServer(options...)
	storagepb.RegisterBigQueryWriteServer(g, &writer{peer: p})
	return g
}

func listen(c *config, port int, protocol string) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil || c.tlsCert == "" {
		return l, err
	}
	pair, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
	if err != nil {
		return nil, err
	}
	if _, err := x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{protocol},
	}), nil
}

// Renamed into place, so that whoever sees the file sees all of it.
func (p *peer) writePorts(rest, g net.Listener) error {
	name := filepath.Join(p.config.data, "ports")
	text := fmt.Sprintf("%d %d\n", rest.Addr().(*net.TCPAddr).Port,
		g.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
