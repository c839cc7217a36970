package proxy

// stackRoom is about what the way of a request needs of stack.
const stackRoom = 4 << 10

// makeRoom has the goroutine's stack grow now. One of HTTP/2 or HTTP/3 is new for each
// request and begins with a small stack, and to grow it means to look at every call that
// is under way: here there are a handful, and where the room is needed there are twenty.
// It is called with false; the branch is what the frame has its size for.
//
//go:noinline
func makeRoom(use bool) byte {
	if use {
		var room [stackRoom]byte
		for i := range room {
			room[i] = room[(i*7+1)%stackRoom] + 1
		}
		return room[stackRoom-1]
	}
	return 0
}
