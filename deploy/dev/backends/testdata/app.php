<?php
// Answers with all that PHP was told of the request.
$body = json_encode(array_filter($_SERVER, 'is_string'));
header('Content-Type: application/json');
header('Content-Length: ' . strlen($body));
echo $body;
