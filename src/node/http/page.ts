export const CONTENT_SECURITY_POLICY = '';
export const pageFiles = async (): Promise<Map<string, { contentType: string; body: Buffer }>> => new Map();
