package proxy

// Withdraw is what Live does a minute after a replacement.
var Withdraw = (*Gateway).withdraw
