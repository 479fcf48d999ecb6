// A goka application as the other side of goka.kafka.test: copied to main.go and built there.
//
//	peer process BROKERS INPUT GROUP OUTPUT   counts; emits the lines "key TAB value" of stdin; ends on SIGINT
//	peer view BROKERS TABLE KEY...            prints "key TAB value" of each key
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func add(c goka.Context, n int64) {
	if v := c.Value(); v != nil {
		n += v.(int64)
	}
	c.SetValue(n)
}

func process(brokers []string, input goka.Stream, group goka.Group, output goka.Stream) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	text := new(codec.String)
	graph := goka.DefineGroup(group,
		goka.Input(input, text, func(c goka.Context, msg any) {
			add(c, 1)
			c.Emit(output, "out:"+c.Key(), msg)
			c.Loopback("loop:"+c.Key(), msg)
		}),
		goka.Loop(text, func(c goka.Context, msg any) { add(c, 10) }),
		goka.Output(output, text),
		goka.Persist(new(codec.Int64)))
	processor, err := goka.NewProcessor(brokers, graph, goka.WithStorageBuilder(storage.MemoryBuilder()))
	must(err)
	done := make(chan error, 1)
	go func() {
		err := processor.Run(ctx)
		if err != nil {
			log.Fatal(err)
		}
		done <- err
	}()
	processor.WaitForReady()
	fmt.Println("ready")
	emitter, err := goka.NewEmitter(brokers, input, text)
	must(err)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "\t")
		_, err := emitter.Emit(key, value)
		must(err)
	}
	must(emitter.Finish())
	fmt.Println("emitted")
	must(<-done)
}

func view(brokers []string, table goka.Table, keys []string) {
	view, err := goka.NewView(brokers, table, new(codec.Int64), goka.WithViewStorageBuilder(storage.MemoryBuilder()))
	must(err)
	go func() { must(view.Run(context.Background())) }()
	<-view.WaitRunning()
	for _, key := range keys {
		value, err := view.Get(key)
		must(err)
		fmt.Printf("%s\t%v\n", key, value)
	}
}

func main() {
	brokers := strings.Split(os.Args[2], ",")
	switch os.Args[1] {
	case "process":
		process(brokers, goka.Stream(os.Args[3]), goka.Group(os.Args[4]), goka.Stream(os.Args[5]))
	case "view":
		view(brokers, goka.Table(os.Args[3]), os.Args[4:])
	}
}
