'use strict';

const polka = require('polka');
const { greeting } = require('./greeting');

const port = Number(process.env.PORT || 3000);

const app = polka()
  .get('/', (request, response) => response.end('greeter\n'))
  .get('/hello/:name', (request, response) => response.end(`${greeting(request.params.name)}\n`))
  .get('/process', (request, response) => {
    response.setHeader('Content-Type', 'application/json');
    const { pid, env } = process;
    response.end(JSON.stringify({ pid, uid: process.getuid(), environment: env.NODE_ENV }));
  })
  .listen(port, () => console.log(`listening on ${port}`));

process.on('SIGTERM', () => {
  console.log('closing');
  app.server.close(() => process.exit(0));
  app.server.closeAllConnections();
});
