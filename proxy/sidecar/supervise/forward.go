package supervise

import (
	"context"
	"os"
	"os/signal"
)

// forwarding hands signals to this process on to the application, until the function that
// it returns is called. What arrives while it does not run is dropped.
func (c *Child) forwarding(ctx context.Context) (end func()) {
	if len(c.cfg.Forward) == 0 {
		return func() {}
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, c.cfg.Forward...)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if err := c.Signal(s); err != nil {
					c.cfg.Log.Info("signal was not handed on", "signal", s.String(), "error", err)
				}
			}
		}
	}()
	return func() { signal.Stop(signals); stop() }
}
