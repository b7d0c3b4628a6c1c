/** Style sheets are esbuild's business. */
declare module '*.css';
