import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import express, { type Router } from 'express'
import type { Route } from './define-route.ts'
import { createOpenapiDocument } from './openapi-document.ts'

const ASSETS_FOLDER = dirname(
  createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'),
)
const ASSETS = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png']

// Swagger UI writes style attributes and draws its icons from data: URLs.
const PAGE_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
}

// Of OpenAPI 3.1, Swagger UI 5.17 repeats the one server under every operation.
const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchhook API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<style>.operation-servers { display: none }</style>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/show.js"></script>
</body>
</html>
`

const SCRIPT = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#docs',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
})
`

/** `/openapi.json`, and `/docs` to read and try it in a browser: Swagger UI from this host, nothing from elsewhere. */
export function createDocsRouter(routes: readonly Route[]): Router {
  const router = express.Router({ caseSensitive: true })
  const document = JSON.stringify(createOpenapiDocument(routes))

  router.use(['/openapi.json', '/docs'], (_request, response, next) => {
    response.set(PAGE_HEADERS)
    next()
  })
  router.get('/openapi.json', (_request, response) => {
    response.type('application/json').send(document)
  })
  router.get('/docs', (_request, response) => {
    response.type('html').send(PAGE)
  })
  router.get('/docs/show.js', (_request, response) => {
    response.type('text/javascript').send(SCRIPT)
  })
  router.get(
    ASSETS.map((name) => `/docs/${name}`),
    (request, response, next) => {
      const name = request.path.slice('/docs/'.length)
      response.sendFile(name, { root: ASSETS_FOLDER, cacheControl: false }, (error) => {
        if (error && !response.headersSent) next(error)
      })
    },
  )
  router.all(['/openapi.json', '/docs'], (_request, response) => {
    response.status(405).set('allow', 'GET, HEAD').json({ detail: 'Method Not Allowed' })
  })
  return router
}
