export default async function template(): Promise<void> {}
