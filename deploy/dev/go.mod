module github.com/sallyport/sallyport/deploy/dev

go 1.26.6

require golang.org/x/term v0.47.0

require golang.org/x/sys v0.49.0 // indirect
